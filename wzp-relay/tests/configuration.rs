//! `wzp-relay config`, as an operator asks it.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

/// Runs it with these variables and no other settings.
fn ask(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wzp-relay"));
    let folder = env!("CARGO_TARGET_TMPDIR");
    command.env_clear().env("STATE_DIRECTORY", folder);
    command.env("WZP_LISTEN", "127.0.0.1:0").env("WZP_METRICS__LISTEN_ADDR", "127.0.0.1:0");
    command.envs(variables.iter().copied());
    command.args(arguments).output().unwrap()
}

#[test]
fn short_variables_are_environment_and_flags_are_over_them() {
    let variables = [("WZP_LISTEN", "127.0.0.1:1"), ("WZP_RELAY__LISTEN", "127.0.0.1:2")];
    let of = |arguments: &[&str]| {
        let output = ask(&[arguments, &["config", "show", "--origin"]].concat(), &variables);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|line| line.starts_with("listen =")).unwrap().to_owned()
    };
    let short = of(&[]);
    assert!(
        short.contains("\"127.0.0.1:1\"") && short.ends_with("# environment WZP_LISTEN"),
        "{short}"
    );
    let flag = of(&["--listen", "127.0.0.1:3"]);
    assert!(
        flag.contains("\"127.0.0.1:3\"") && flag.ends_with("# command line --listen"),
        "{flag}"
    );
}

#[test]
fn a_check_ends_with_what_it_found() {
    let good = ask(&["config", "check"], &[("WZP_LIMITS__SESSIONS", "5")]);
    assert!(good.status.success(), "{good:?}");
    assert!(good.stdout.starts_with(b"OK: 3 of "), "{good:?}");
    let one = ask(&["config", "check", "--settings-only"], &[("WZP_METRICS__LISTEN_ADDR", "")]);
    let told = String::from_utf8(one.stdout).unwrap();
    assert!(told.starts_with("OK: 1 of ") && told.ends_with(" keys is set\n"), "{told}");
    let warned = ask(&["config", "check"], &[("WZP_INTERFACE", "nosuch0")]);
    let told = String::from_utf8(warned.stderr).unwrap();
    assert!(warned.status.success(), "{told}");
    assert!(told.contains("warning: ebpf.interfaces (environment WZP_INTERFACE)"), "{told}");
    let strict = ask(&["config", "check", "--strict"], &[("WZP_INTERFACE", "nosuch0")]);
    let told = String::from_utf8(strict.stderr).unwrap();
    assert_eq!(strict.status.code(), Some(1), "{told}");
    assert!(told.contains("nosuch0") && !told.contains("warning:"), "{told}");
    let elsewhere = ["config", "check", "--strict", "--settings-only"];
    let elsewhere = ask(&elsewhere, &[("WZP_INTERFACE", "nosuch0"), ("WZP_AUTH__MODE", "none")]);
    assert!(elsewhere.status.success(), "{elsewhere:?}");
    let bad = ask(&["config", "check"], &[("WZP_LIMITS__SESSIONS", "0")]);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let told = String::from_utf8(bad.stderr).unwrap();
    assert!(told.contains("limits.sessions (environment WZP_LIMITS__SESSIONS)"), "{told}");
}

#[test]
fn explanations_need_no_settings_that_are_right() {
    for topic in ["schema", "reference", "example"] {
        let output = ask(&["config", topic], &[("WZP_LIMITS__SESSIONS", "0")]);
        assert!(output.status.success(), "{topic}: {output:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("send_buffer_bytes"), "{topic}");
    }
}
