//! Files that are named for two things.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

#[test]
fn a_file_that_is_written_is_for_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    std::fs::create_dir(here("logs")).unwrap();
    std::fs::write(here("there"), "").unwrap();
    std::fs::hard_link(here("there"), here("hard")).unwrap();
    symlink("there", here("soft")).unwrap();
    symlink("logs", here("folder")).unwrap();
    symlink("new", here("to-new")).unwrap();
    symlink("logs/real.log", here("to-log")).unwrap();
    let both = |log: &str, audit: &str| {
        format!("logging.file = 'D/{log}'\naudit.enabled = true\naudit.file = 'D/{audit}'\n")
    };
    const STAMP: &str = "20261125T101112.131415Z";
    let log = |path: &str| format!("logging.file = 'D/{path}'\n");
    let with_audit = |path: &str| log(path) + "audit.enabled = true\n";
    let jwt = "[auth]\nmode = 'jwt'\njwt.secret_files = ['D/there']";
    let clashes = [
        (both("new", "new"), ["logging.file", "audit.file"], "both are"),
        (both("./logs/../new", "new"), ["logging.file", "audit.file"], "are the same"),
        (both("a/../new", "new"), ["logging.file", "audit.file"], "are the same"),
        (both("there", "soft"), ["logging.file", "audit.file"], "are the same"),
        (both("hard", "there"), ["logging.file", "audit.file"], "are the same"),
        (both("folder/x", "logs/x"), ["logging.file", "audit.file"], "are the same"),
        (both("to-new", "new"), ["logging.file", "audit.file"], "are the same"),
        (both("x.log", "x.log.lock"), ["logging.file", "audit.file"], "put aside"),
        (both("x.log", &format!("x-{STAMP}.log")), ["logging.file", "audit.file"], "put aside"),
        (both("x.log", &format!("x-{STAMP}.log.gz")), ["logging.file", "audit.file"], "put aside"),
        (both("x.log", "x.log.1"), ["logging.file", "audit.file"], "put aside"),
        (both("x.log-20261201.gz", "x.log"), ["logging.file", "audit.file"], "put aside"),
        (both("x.torn-1", "x"), ["logging.file", "audit.file"], "put aside"),
        (both("to-log", "logs/real.log.lock"), ["logging.file", "audit.file"], "put aside"),
        (both("x", "x/audit"), ["logging.file", "audit.file"], "folder for"),
        (log("state/identity.pem"), ["logging.file", "relay.state_dir"], "both are"),
        (log("state/identity.pem.new"), ["logging.file", "relay.state_dir"], "both are"),
        (log("state/admin.sock"), ["logging.file", "relay.state_dir"], "both are"),
        (with_audit("state/audit.log"), ["logging.file", "relay.state_dir"], "both are"),
        (log("state"), ["logging.file", "relay.state_dir"], "both are"),
        (log("relay.toml"), ["logging.file", ""], "configuration file itself"),
        (
            log("there") + "relay.cert = 'D/there'\nrelay.key = 'D/key'",
            ["relay.cert", "logging.file"],
            "both are",
        ),
        (
            log("hard") + "relay.cert = 'D/cert'\nrelay.key = 'D/there'",
            ["relay.key", "logging.file"],
            "are the same",
        ),
        (log("there") + jwt, ["logging.file", "auth.jwt.secret_files"], "both are"),
        (
            log("there") + "metrics.web_config = 'D/soft'",
            ["metrics.web_config", "logging.file"],
            "same",
        ),
    ];
    let good = [
        both("x.log", "y.log"),
        both("x.log", "x.log.old"),
        both("to-log", "to-log.lock"),
        both("x.log", &format!("y-{STAMP}.log")),
        both("x.log", &format!("logs/x-{STAMP}.log")),
        log("state/relay.log"),
        log("state/audit.log"),
        "relay.cert = 'D/there'\nrelay.key = 'D/there'".into(),
        "relay.cert = 'D/there'\nrelay.key = 'D/hard'\nmetrics.web_config = 'D/soft'".into(),
        "audit.file = 'D/new'\nlogging.file = 'D/new'".into(),
        format!("{}{}", log("there"), jwt.replace("'jwt'", "'none'")),
    ];
    let path = here("relay.toml");
    let parse = |text: &str| {
        let text = text.replace("D/", &format!("{}/", folder.path().display()));
        std::fs::write(&path, text).unwrap();
        let state = here("state");
        let arguments = [path.as_path(), "--state-dir".as_ref(), state.as_path()];
        let program: [&Path; 2] = ["wzp-relay".as_ref(), "--config".as_ref()];
        let flags = Flags::parse(program.iter().chain(&arguments)).unwrap();
        Loaded::with_environment(&flags, std::iter::empty()).map_err(|error| error.to_string())
    };
    for (text, keys, part) in clashes {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(part), "{text}: {error}");
        for key in keys {
            assert!(error.contains(key), "{text}: {key} is not in {error}");
        }
    }
    for text in good {
        assert!(parse(&text).is_ok(), "{text}: {:?}", parse(&text));
    }
}

#[test]
fn the_files_of_a_web_config_are_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_, pem) = wzp_transport::identity::Identity::generate().unwrap();
    std::fs::write(folder.path().join("both.pem"), pem).unwrap();
    let web = folder.path().join("web.yml");
    std::fs::write(&web, "tls_server_config: {cert_file: both.pem, key_file: both.pem}\n").unwrap();
    let log = folder.path().join("both.pem");
    let error = parse(&format!(
        "logging.file = '{}'\nmetrics.web_config = '{}'\n",
        log.display(),
        web.display()
    ));
    assert!(error.unwrap_err().contains("metrics.web_config"));
}

#[test]
fn a_file_has_a_name_that_is_the_same_for_every_program() {
    for (text, key) in [
        ("logging.file = ''", "logging.file"),
        ("audit.file = ''", "audit.file"),
        ("relay.cert = ''\nrelay.key = 'k'", "relay.cert"),
        ("auth.jwt.secret_files = ['a', '']", "auth.jwt.secret_files"),
        ("logging.file = '/dev/stdout'", "logging.file"),
        ("logging.file = '/dev/fd/2'", "logging.file"),
        ("audit.file = '/proc/self/fd/1'", "audit.file"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(&format!("{key} (file FILE:1)")), "{text}: {error}");
    }
    assert!(parse("logging.file = '/dev/shm/wzp-relay.log'").is_ok());
}
