//! The environment.

use std::os::unix::ffi::OsStringExt;

use super::*;

#[test]
fn variables_take_values_of_every_kind() {
    let cases = [
        ("WZP_METRICS__ENABLED", "false", "metrics.enabled", "false"),
        ("WZP_METRICS__PATH", "/5", "metrics.path", "\"/5\""),
        ("WZP_RELAY__CERT", "5", "relay.cert", "\"5\""),
        ("WZP_TRACING__SAMPLE_RATE", "0.5", "tracing.sample_rate", "0.5"),
        ("WZP_LOGGING__LEVEL", "debug", "logging.level", "\"debug\""),
        ("WZP_LOGGING__MAX_SIZE", "10MB", "logging.max_size", "\"10MB\""),
        ("WZP_LIMITS__IDLE_TIMEOUT", "1m", "limits.idle_timeout", "\"1m\""),
        ("WZP_AUDIT__EVENTS", "['lifecycle']", "audit.events", "[\"lifecycle\"]"),
        ("WZP_EBPF__INTERFACES", "['eth0']", "ebpf.interfaces", "[\"eth0\"]"),
    ];
    for (name, given, key, value) in cases {
        let config = load("relay.key = 'k'\nrelay.cert = 'c'", &[(name, given)], &[]).unwrap();
        assert_eq!(values::flat(&config.config)[key].to_string(), value, "{name}");
    }
}

#[test]
fn wrong_variables_are_named_and_others_left_alone() {
    let cases = [
        ("WZP_LIMITS__SESIONS", "5", "did you mean WZP_LIMITS__SESSIONS"),
        ("WZP_X__Y", "5", "there are the sections relay"),
        ("WZP_LIMITS__SESSIONS", "5\n[relay]", "the text \"5\\n[relay]\"; wanted"),
        ("WZP_EBPF__INTERFACES", "eth0", "wanted is a list of texts"),
        ("WZP_EBPF__SLOTS", "0", "1 to"),
        ("WZP___", "0", "no such key"),
        ("WZP_SHARD", "2", "did you mean WZP_SHARDS?"),
        ("WZP_STATEDIR", "/x", "did you mean WZP_STATE_DIR?"),
        ("WZP_LIMITS_SESSIONS", "5", "did you mean WZP_LIMITS__SESSIONS?"),
        ("WZP_CONF", "x", "did you mean WZP_CONFIG?"),
        ("WZP_COLOUR_OF_THE_WALL", "1", "config reference"),
        ("WZP_", "1", "no such variable"),
        ("WZP_SHARDS", "many", "relay.shards (environment WZP_SHARDS): invalid value 'many'"),
        ("WZP_SHARDS", "300", "300 is not in 1..=256"),
        ("WZP_LISTEN", "4433", "relay.listen (environment WZP_LISTEN): invalid value '4433'"),
        ("WZP_METRICS_PORT", "http", "metrics.listen_addr (environment WZP_METRICS_PORT)"),
        ("WZP_EBPF", "maybe", "[possible values: off, auto, require]"),
        ("WZP_DRAIN_TIMEOUT", "soon", "relay.drain_timeout (environment WZP_DRAIN_TIMEOUT)"),
    ];
    for (name, value, expected) in cases {
        let error = load("", &[(name, value)], &[]).unwrap_err();
        let place = format!("environment {name}");
        assert!(error.contains(expected) && error.contains(&place), "{name}: {error}");
        assert!(!error.contains("--") || name == "WZP_X__Y", "nobody gave a flag: {error}");
    }
    let others = [("WZP_TOKEN", "1"), ("WZPX__Y", "1"), ("OTHER__X", "1")];
    assert_eq!(load("", &others, &[]).unwrap().config, Config::default());
}

#[test]
fn each_wrong_variable_has_a_sentence_of_its_own() {
    let wrong = [
        ("WZP_SHARDS", "many"),
        ("WZP_LISTEN", "here"),
        ("WZP_SHARD", "2"),
        ("WZP_LIMITS__SESIONS", "5"),
    ];
    let error = load("", &wrong, &[]).unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, "configuration: 4 things are wrong"), "{error}");
    for (name, _) in wrong {
        let place = [format!("(environment {name}):"), format!("environment {name}:")];
        let is_told = |line: &&&str| place.iter().any(|place| line.contains(place));
        let told = lines.iter().filter(is_told).count();
        assert!(told == 1, "{name} in {error}");
    }
}

#[test]
fn flags_have_variables_that_are_over_the_long_ones() {
    let variables = [
        ("WZP_RELAY__SHARDS", "2"),
        ("WZP_SHARDS", "3"),
        ("WZP_INTERFACE", "a,b"),
        ("WZP_AUTH_URL", "http://id.example/"),
        ("WZP_METRICS_PORT", "7"),
    ];
    let loaded = load("relay.shards = 1", &variables, &[]).unwrap();
    let Config { relay, ebpf, auth, metrics, .. } = &loaded.config;
    assert_eq!((relay.shards, auth.mode), (3, AuthMode::Webhook));
    assert_eq!(ebpf.interfaces, ["a", "b"]);
    assert_eq!(metrics.listen_addr, "[::]:7".parse().unwrap());
    assert_eq!(loaded.origin("relay.shards").to_string(), "environment WZP_SHARDS");
    let loaded = load("", &variables, &["--shards", "4"]).unwrap();
    assert_eq!(loaded.config.relay.shards, 4);
    // A certificate of the environment does not come with a key of the file.
    let pair = "[relay]\ncert = 'old.pem'\nkey = 'old.key'\n";
    let error = load(pair, &[("WZP_CERT", "new.pem")], &[]).unwrap_err();
    assert!(error.contains("relay.key (default)"), "{error}");
}

#[test]
fn an_empty_variable_is_none() {
    let sections = key::sections();
    let flags = flags::flags().into_iter().map(|flag| flag.variable);
    let keys = setting::keys(&sections).map(key::Key::variable);
    let others = ["WZP_CONFIG", "WZP_NO_SUCH", "WZP_NO__SUCH"].map(String::from);
    let names: Vec<_> = flags.chain(keys).chain(others).collect();
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let loaded = load("relay.shards = 2", &empty, &[]).unwrap();
    assert_eq!(loaded.config.relay.shards, 2, "that of the file");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn what_kubernetes_sets_for_a_service_is_left_alone_with_one_warning() {
    let links = [
        ("WZP_METRICS_SERVICE_HOST", "10.0.0.8"),
        ("WZP_METRICS_SERVICE_PORT", "9090"),
        ("WZP_METRICS_SERVICE_PORT_HTTP", "9090"),
        ("WZP_METRICS_PORT", "tcp://10.0.0.8:9090"),
        ("WZP_METRICS_PORT_9090_TCP", "tcp://10.0.0.8:9090"),
        ("WZP_METRICS_PORT_9090_TCP_PROTO", "tcp"),
        ("WZP_METRICS_PORT_9090_TCP_PORT", "9090"),
        ("WZP_METRICS_PORT_9090_TCP_ADDR", "10.0.0.8"),
        ("WZP_RELAY_PORT", "udp://10.0.0.9:4433"),
        ("WZP_RELAY_PORT_4433_UDP_ADDR", "10.0.0.9"),
        ("WZP_PORT", "udp://10.0.0.9:4433"),
        ("WZP_SERVICE_HOST", "10.0.0.9"),
    ];
    let loaded = load("", &links, &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    for part in ["WZP_METRICS_PORT, ", " and 9 more", "enableServiceLinks: false"] {
        assert!(warning.contains(part), "{warning}");
    }
    for (name, value) in links {
        assert_eq!(load("", &[(name, value)], &[]).unwrap().warnings.len(), 1, "{name}");
    }
    for (name, value) in
        [("WZP_METRICS_PORT", "tcp"), ("WZP_METRIC_PORT", "9090"), ("WZP_METRICS_PORT_X_TCP", "1")]
    {
        load("", &[(name, value)], &[]).unwrap_err();
    }
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    for (name, key) in
        [("WZP_LISTEN", "relay.listen"), ("WZP_LOGGING__FILE", "logging.file"), ("WZP_X", "x")]
    {
        let variable = (OsString::from(name), OsString::from_vec(vec![b'/', 0xff]));
        let error = Loaded::with_environment(&Flags::default(), [variable].into_iter());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("{key} (environment {name}): it is not UTF-8")), "{error}");
    }
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let (_folder, path) = file("relay.shards = 7");
    let variable = [("WZP_CONFIG", path.to_str().unwrap())];
    let loaded = Loaded::with_environment(&Flags::default(), environment(&variable)).unwrap();
    assert_eq!(loaded.config.relay.shards, 7);
}
