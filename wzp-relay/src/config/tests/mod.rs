//! Layers and mistakes.

mod files;
mod foreign;
mod random;
mod state_dir;
mod variables;
mod written;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A folder with a configuration file in it.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn load(text: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, String> {
    let (_folder, path) = file(text);
    let arguments = ["wzp-relay", "--config", path.to_str().unwrap()];
    let flags = Flags::parse(arguments.iter().chain(flags)).unwrap();
    Loaded::with_environment(&flags, environment(variables))
        .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    variables.iter().map(|(name, value)| (OsString::from(name), value.into()))
}

fn parse(text: &str) -> Result<Config, String> {
    load(text, &[], &[]).map(|loaded| loaded.config)
}

#[test]
fn keys_are_read_and_the_rest_is_default() {
    let config = parse("[limits]\nroom_members = 7\nhello_timeout = '250ms'\n[relay]\n").unwrap();
    assert_eq!(config.limits.room_members, 7);
    assert_eq!(config.limits.hello_timeout, Duration::from_millis(250));
    assert_eq!(config.limits.sessions, Limits::default().sessions);
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn the_sections_of_the_monitoring_guide_are_taken() {
    let config = parse(
        "[metrics]\nenabled = true\nlisten_addr = \"127.0.0.1:9090\"\npath = \"/metrics\"\n\
         format = \"prometheus\"\n[health]\nenabled = true\nlisten_addr = \"127.0.0.1:8080\"\n\
         path = \"/health\"\n[logging]\nlevel = \"info\"\nformat = \"json\"\n\
         file = \"/var/lib/wraith/logs/wraith.log\"\nmax_size = \"100MB\"\nmax_age = \"30d\"\n\
         max_backups = 10\ncompress = true\n[tracing]\nenabled = true\nexporter = \"otlp\"\n\
         endpoint = \"localhost:4317\"\nsample_rate = 0.1\n[audit]\nenabled = true\n\
         file = \"/var/lib/wraith/logs/audit.log\"\n\
         events = [\"key_rotation\", \"config_change\", \"transfer_start\", \"transfer_complete\"]\n",
    )
    .unwrap();
    assert_eq!(config.logging.max_age, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.logging.max_size.as_u64(), 100_000_000);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let cases: [(&str, &[&str]); 38] = [
        ("[limits]\nroom_member = 7\n", &["FILE:2", "limits.room_member ", "limits.room_members"]),
        ("[limit]\n", &["FILE:1", "limit ", "[limits]"]),
        ("\n[limit]\nsessions = 5", &["FILE:3", "limit.sessions ", "limits.sessions", "sections"]),
        ("[relay]\nsessions = 5", &["FILE:2", "limits.sessions", "[relay] has listen, shards"]),
        ("relay.shards = 1\nlisten = 4\n", &["FILE:2", "listen ", "relay.listen"]),
        ("\"relay.shards\" = 1\n", &["FILE:1", "no such key"]),
        ("limits = 5\n", &["FILE:1", "limits ", "this is a section: write [limits]"]),
        ("[metrics.path]\na = 1\n", &["FILE:2", "metrics.path.a", "is no section"]),
        (
            "[limits]\nsessions = 'many'\n",
            &[
                "FILE:2",
                "limits.sessions ",
                ": this is the text \"many\"; wanted is a whole number, 1 to 10000000",
            ],
        ),
        (
            "[limits]\nsessions = -1\n",
            &["FILE:2", "limits.sessions ", ": this is the whole number -1; "],
        ),
        ("relay.shards = 1.5", &["this is the number 1.5; wanted is a whole number, 0 to 256"]),
        ("relay.shards = 2026-01-01", &["this is the date or time 2026-01-01; wanted is a whole"]),
        ("relay.shards = [1]", &["this is a list; wanted is a whole number"]),
        ("relay.shards = 99999999999999999999", &["line 1", "too large", "9223372036854775807"]),
        ("logging.max_backups = 4294967296", &["wanted is a whole number, 0 to 4294967295"]),
        ("metrics.max_room_series = -1", &["wanted is a whole number, 0 or more"]),
        ("logging.compress = 'yes'", &["this is the text \"yes\"; wanted is true or false"]),
        ("relay.cert = 5", &["this is the whole number 5; wanted is a text in quotes"]),
        ("relay.cert = true", &["this is true; wanted is a text in quotes"]),
        ("ebpf.interfaces = 'eth0'", &["this is the text \"eth0\"; wanted is a list of texts"]),
        (
            "ebpf.interfaces = ['a', 1]",
            &["one in this list is the whole number 1; wanted is a list"],
        ),
        ("ebpf.mode = 1", &["this is the whole number 1; wanted is one of `off`, `auto`, `req"]),
        (
            "relay.listen = '127.0.0.1'",
            &["\"127.0.0.1\" has no port; wanted is an IP address and a"],
        ),
        ("relay.listen = 'relay.example:1'", &["\"relay.example\" is no IP address; wanted is"]),
        ("metrics.listen_addr = 9090", &["this is the whole number 9090; wanted is an IP address"]),
        ("tracing.sample_rate = 'all'", &["this is the text \"all\"; wanted is a number, 0 to 1"]),
        ("relay.drain_timeout = '5 aeons'", &["\"aeons\"", "; wanted is a duration such as"]),
        (
            "audit.events = ['key_rotation', 'x']",
            &["one in this list is the text \"x\"; wanted is"],
        ),
        ("relay.shards = \"\"\"a\nb\"\"\"", &["the text \"a\\nb\"; wanted"]),
        ("[limits]\nidle_timeout = 5\n", &["FILE:2", "limits.idle_timeout ", "500ms"]),
        ("[limits]\nidle_timeout = 'soon'\n", &["FILE:2", "500ms"]),
        ("[logging]\nmax_size = 'much'\n", &["FILE:2", "logging.max_size", "100MB"]),
        ("[logging]\nlevel = 'loud'\n", &["FILE:2", "loud", "`trace`", "`error`"]),
        ("[tracing]\nexporter = 'zip'\n", &["FILE:2", "`otlp`", "`jaeger`"]),
        ("[limits]\nframe_bytes = 9000\n", &["limits.frame_bytes (file FILE:2)", "9000", "1150"]),
        ("[limits]\nidle_timeout = '1ms'\n", &["FILE:2", "1ms", "10ms to 1d"]),
        ("[relay]\ncert = 'a.pem'\n", &["relay.cert (file FILE:2), relay.key (default)", "both"]),
        ("[relay\n", &["in FILE", "line 1, column 7"]),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{text:?} gave {error:?}, which lacks {part:?}");
        }
        let begins = |line: &str| {
            ["configuration: ", "  ", "in FILE"].iter().any(|start| line.starts_with(start))
        };
        assert!(error.lines().all(begins), "no sentence has a line break: {error}");
        // The words of the libraries, which are for who writes programs.
        for word in ["expected", "invalid type", "usize", "u32", "string", "sequence", "variant"] {
            assert!(!error.contains(word) || error.contains("column"), "{text:?} gave {error:?}");
        }
    }
}

#[test]
fn values_that_do_not_fit_each_other_are_refused() {
    let cases = [
        ("limits.bytes_per_second = 500", "limits.frame_bytes (default)"),
        ("limits.room_members = 60000", "limits.outbox_bytes (default)"),
        ("limits.idle_timeout = '14s'", "limits.ping_interval (default)"),
        ("tracing.sample_rate = 1.5", "0 to 1"),
        ("metrics.path = 'metrics'", "slash"),
        ("metrics.path = '/ready'", "another path"),
        ("metrics.path = '/a b'", "does not send \" \""),
        ("metrics.path = '/metrics?format=json'", "does not send \"?\""),
        ("metrics.path = '/metrics#all'", "does not send \"#\""),
        ("metrics.path = '/zähler'", "does not send \"ä\""),
        ("health.path = \"/a\\u001b[2J\"", "does not send \"\\u{1b}\""),
        ("metrics.path = '/50%'", "two hexadecimal digits"),
        ("metrics.path = '/%zz'", "two hexadecimal digits"),
        ("health.path = '/a/../b'", "leave out"),
        ("health.path = 'x'", "slash"),
        ("ebpf.mode = 'require'", "ebpf.interfaces"),
        ("relay.state_dir = ''", "HOME"),
        ("relay.shards = 4000", "0 to"),
        ("forward.bundle_window = '1s'", "0s to 20ms"),
        ("limits.membership_window = '10ms'", "50ms to 2s"),
        ("logging.max_size = 10", "1KiB"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text:?} gave {error:?}, which lacks {expected:?}");
        assert!(error.contains("file FILE:1"), "{error}");
    }
    for path in ["/", "/m", "/z%C3%A4hler", "/a/b-c_d~e.f/", "/$&'()*+,;=:@!"] {
        let text = format!("metrics.path = \"{path}\"\nhealth.path = \"{path}\"");
        assert!(parse(&text).is_ok(), "{text}");
    }
    // What keeps silent sessions alive may be either.
    for text in ["idle_timeout = '10s'\nping_interval = '5s'", "ping_interval = '1m'"] {
        assert!(parse(&format!("[limits]\n{text}")).is_ok(), "{text}");
    }
}

#[test]
fn what_a_reload_mixes_has_to_fit_together() {
    const QUICK: &str = "[limits]\nidle_timeout = '10s'\nping_interval = '5s'\n";
    let refused = [
        "limits.idle_timeout (as it is now, until a restart)",
        "limits.ping_interval (in force after this reload)",
        "silent sessions would end",
    ];
    let cases: [(&str, &str, &[&str]); 5] = [
        (QUICK, "[limits]\nidle_timeout = '1h'\nping_interval = '30m'\n", &refused),
        (QUICK, "", &refused),
        (QUICK, "[limits]\nidle_timeout = '1h'\nping_interval = '5s'\n", &[]),
        ("", QUICK, &[]),
        (
            "audit.enabled = true\naudit.file = '/nowhere/a'\n",
            "logging.file = '/nowhere/a'\n",
            &["audit.file (as it is now", "logging.file (in force", "both are"],
        ),
    ];
    for (running, file, told) in cases {
        let (running, file) = (parse(running).unwrap(), parse(file).unwrap());
        let mixed = Change::apply(&running, &file).unwrap();
        let outcome = mixed.check_in_force(&Change::between(&running, &file));
        assert_eq!(outcome.is_err(), !told.is_empty(), "{outcome:?}");
        let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        for part in told {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}

#[test]
fn a_receiver_of_traces_with_a_password_is_refused_and_not_shown() {
    for endpoint in ["ben:hunter2@collector:4317", "http://ben:hunter2@collector:4317"] {
        let error = parse(&format!("tracing.endpoint = '{endpoint}'")).unwrap_err();
        assert!(error.contains("would not be sent") && !error.contains("hunter2"), "{error}");
    }
    assert!(parse("tracing.endpoint = 'http://collector:4317/a@b'").is_ok());
}

#[test]
fn a_receiver_of_traces_at_a_port_that_is_none_is_refused() {
    for endpoint in ["collector:65536", "http://collector:43170/", "collector:", "[::1]:0"] {
        let found = parse(&format!("tracing.endpoint = '{endpoint}'"));
        let is_refused = found.as_ref().is_err_and(|error| error.contains("1 to 65535"));
        assert_eq!(is_refused, !endpoint.contains("43170"), "{endpoint}: {found:?}");
    }
}

#[test]
fn listeners_that_fight_are_refused() {
    let cases = [
        ("127.0.0.1:9090", "127.0.0.1:9090", true),
        ("0.0.0.0:9090", "127.0.0.1:9090", true),
        ("[::]:9090", "127.0.0.1:9090", true),
        ("[::ffff:127.0.0.1]:9090", "127.0.0.1:9090", true),
        ("[::1]:9090", "[::]:9090", true),
        ("[::1]:9090", "0.0.0.0:9090", false),
        ("127.0.0.1:9090", "127.0.0.1:9091", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ];
    for (metrics, health, fight) in cases {
        let addresses =
            format!("metrics.listen_addr = '{metrics}'\nhealth.listen_addr = '{health}'\n");
        let both = parse(&format!("{addresses}health.enabled = true\n"));
        assert_eq!(both.is_err(), fight, "{metrics} and {health}: {both:?}");
        assert!(parse(&addresses).is_ok(), "only one is opened");
        let health = parse(&format!("{addresses}health.enabled = true\nmetrics.enabled = false"));
        assert!(health.is_ok(), "only one is opened");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = load("[limits]\nsesions = 5\nhandshakes = true\n", &[("WZP_EBPF__SLOT", "1")], &[]);
    let error = error.unwrap_err();
    for part in ["3 things", "FILE:2", "FILE:3", "environment WZP_EBPF__SLOT", "WZP_EBPF__SLOTS"] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

#[test]
fn the_command_line_is_over_the_environment_and_that_over_the_file() {
    let text = "[relay]\nshards = 1\n[limits]\nsessions = 1\nhandshakes = 9\n";
    let variables = [("WZP_RELAY__SHARDS", "2"), ("WZP_LIMITS__SESSIONS", "2")];
    let loaded = load(text, &variables, &["--shards", "3", "--metrics-port", "7"]).unwrap();
    let Config { relay, limits, metrics, .. } = &loaded.config;
    assert_eq!((relay.shards, limits.sessions, limits.handshakes), (3, 2, 9));
    assert_eq!(metrics.listen_addr, "[::]:7".parse().unwrap());
    let origins = [
        ("relay.shards", "command line --shards"),
        ("metrics.listen_addr", "command line --metrics-port"),
        ("limits.sessions", "environment WZP_LIMITS__SESSIONS"),
        ("limits.handshakes", "relay.toml:5"),
        ("limits.room_members", "default"),
    ];
    for (key, origin) in origins {
        let told = loaded.origin(key).to_string();
        assert!(told.ends_with(origin), "{key}: {told}");
    }
}

#[test]
fn every_flag_sets_its_key() {
    let flags = [
        ("--listen", "127.0.0.1:1", "relay.listen", "\"127.0.0.1:1\""),
        ("--metrics-port", "1", "metrics.listen_addr", "\"[::]:1\""),
        ("--ebpf", "off", "ebpf.mode", "\"off\""),
        ("--interface", "a,b", "ebpf.interfaces", "[\"a\", \"b\"]"),
        ("--cert", "c", "relay.cert", "\"c\""),
        ("--key", "k", "relay.key", "\"k\""),
        ("--state-dir", "s", "relay.state_dir", "\"s\""),
        ("--shards", "2", "relay.shards", "2"),
        ("--bundle-window", "1ms", "forward.bundle_window", "\"1ms\""),
        ("--drain-timeout", "1m", "relay.drain_timeout", "\"1m\""),
    ];
    let given: Vec<_> = flags.iter().flat_map(|(flag, value, ..)| [*flag, *value]).collect();
    let config = load("", &[], &given).unwrap().config;
    let values = values::flat(&config);
    for (flag, _, key, value) in flags {
        assert_eq!(values[key].to_string(), value, "{flag}");
    }
    let command = flags::command();
    let known = command.get_arguments().filter(|argument| argument.get_id() != "config");
    let known: BTreeSet<_> =
        known.filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect();
    let mapped = flags::flags().into_iter().map(|flag| flag.long).collect();
    assert_eq!(known, mapped, "an option that sets no key");
}

#[test]
fn a_certificate_of_the_command_line_brings_its_key() {
    let text = "[relay]\ncert = 'old.pem'\nkey = 'old.key'\n";
    let error = load(text, &[("WZP_RELAY__KEY", "e.key")], &["--cert", "new.pem"]).unwrap_err();
    assert!(error.contains("relay.cert (command line --cert), relay.key (default)"), "{error}");
}

#[test]
fn a_changed_file_is_read_again() {
    let (_folder, path) = file("[limits]\nsessions = 5\n");
    let flags = Flags { config: Some(path.clone()), ..Flags::default() };
    let load = || Loaded::with_environment(&flags, std::iter::empty());
    let old = load().unwrap().config;
    std::fs::write(&path, "[limits]\nsessions = 6\n").unwrap();
    let changes = Change::between(&old, &load().unwrap().config);
    let told: Vec<_> = changes.iter().map(Change::to_string).collect();
    assert_eq!(told, ["limits.sessions: 5 -> 6"]);
    std::fs::write(&path, "[limits]\nsessions = 0\n").unwrap();
    assert!(load().is_err());
    std::fs::remove_file(&path).unwrap();
    let error = format!("{:#}", anyhow::Error::new(load().unwrap_err()));
    assert_eq!(error.matches("os error 2").count(), 1, "the cause is told once: {error}");
}
