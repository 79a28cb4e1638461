//! What is written about the keys is true.

use super::super::setting::keys;
use super::*;

#[test]
fn what_is_shown_is_what_is_set() {
    let text = "relay.cert = 'c'\nrelay.key = 'k'\nlogging.max_size = 1234567\n\
                audit.events = ['lifecycle']\nlimits.ping_timeout = '1m 5s'\n";
    let loaded = load(text, &[], &["--interface", "eth\"0"]).unwrap();
    for origins in [false, true] {
        let shown = document::effective(&loaded, &key::sections(), origins).unwrap();
        assert_eq!(parse(&shown).unwrap(), loaded.config, "{shown}");
        assert_eq!(shown.contains("# command line --interface"), origins, "{shown}");
        assert_eq!(shown.contains("# default"), origins, "{shown}");
    }
}

/// The example with the comment signs before keys of that form taken away.
fn uncommented(mark: &str) -> String {
    let example = document::example(&key::sections()).unwrap();
    let is_key = |rest: &str| rest.starts_with(|first: char| first.is_ascii_lowercase());
    let line = |line: &str| match line.strip_prefix(mark) {
        Some(rest) if is_key(rest) => rest.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    example.lines().map(line).collect()
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let given = parse(&uncommented("#")).unwrap();
    let mut expected = Config::default();
    expected.relay.state_dir = "/var/lib/wzp-relay".into();
    assert_eq!(given, expected);
    let defaults = values::flat(&given);
    let examples = uncommented("#   ");
    for key in keys(&key::sections()) {
        let example = format!("\n{} = ", key.name());
        let there = defaults.contains_key(&key.path) || examples.contains(&example);
        assert!(there, "{} is not in the example: give its field one", key.path);
    }
    parse(&examples).unwrap();
}

#[test]
fn the_written_example_is_the_defaults() {
    let written = include_str!("../../../../deploy/relay.toml");
    assert_eq!(parse(written).unwrap(), Config::default());
}
