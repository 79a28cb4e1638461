//! Which relay is meant when the configuration is wrong.

use super::*;

/// What is found: a folder, whether something is wrong, or a refusal.
fn find(
    text: Option<&str>,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> Result<(String, bool), String> {
    let (_folder, path) = file(text.unwrap_or_default());
    if text.is_none() {
        std::fs::remove_file(&path).unwrap();
    }
    let arguments = ["wzp-relay", "--config", path.to_str().unwrap()];
    let flags = Flags::parse(arguments.iter().chain(flags)).unwrap();
    StateDir::with_environment(&flags, environment(variables))
        .map(|found| (found.path.to_str().unwrap().to_owned(), found.problem.is_some()))
        .map_err(|error| error.to_string())
}

#[test]
fn it_is_never_the_default_of_another_relay() {
    const WRONG: &str = "[limits]\nsesions = 5\n[relay]\nstate_dir = '/file'\n";
    let found = |path: &str, wrong| Some((path.to_owned(), wrong));
    let none: &[(&str, &str)] = &[];
    let default = RelaySection::default().state_dir;
    let cases = [
        (Some(""), none, &[][..], found(default.to_str().unwrap(), false)),
        (Some("relay.state_dir = '/file'"), none, &[], found("/file", false)),
        // The file is wrong elsewhere.
        (Some(WRONG), none, &[], found("/file", true)),
        (Some(WRONG), &[("WZP_RELAY__STATE_DIR", "/long")], &[], found("/long", true)),
        (Some(WRONG), &[("WZP_STATE_DIR", "/short")], &[], found("/short", true)),
        (
            Some(WRONG),
            &[("WZP_STATE_DIR", "/short")],
            &["--state-dir", "/flag"],
            found("/flag", true),
        ),
        (Some("limits.sessions = 0\nrelay.state_dir = '/file'"), none, &[], found("/file", true)),
        (Some("relay.state_dir = '/file'"), &[("WZP_SHARD", "2")], &[], found("/file", true)),
        // It does not say, or may have tried to.
        (Some("[limits]\nsesions = 5"), none, &[], None),
        (Some("relay.state_dri = '/file'"), none, &[], None),
        (Some("rely.state_dir = '/file'"), none, &[], None),
        (Some("relay.state_dir = 5"), none, &[], None),
        (Some("relay.state_dir = ''"), none, &[], None),
        (Some(""), &[("WZP_STATEDIR", "/long")], &[], None),
        // It cannot be read.
        (Some("[relay\nstate_dir = '/file'"), none, &[], None),
        (Some("[relay]\nstate_dir = '/a'\nstate_dir = '/b'"), none, &[], None),
        (None, none, &[], None),
        (None, &[("WZP_STATE_DIR", "/short")], &[], found("/short", true)),
        (None, none, &["--state-dir", "/flag"], found("/flag", true)),
    ];
    for (text, variables, flags, expected) in cases {
        let outcome = find(text, variables, flags);
        assert_eq!(outcome.clone().ok(), expected, "{text:?} {variables:?} {flags:?}: {outcome:?}");
    }
}
