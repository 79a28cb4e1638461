//! How it is told, and where it cannot be.

use std::fs::File;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use crate::place::{Place, shell};

#[test]
fn people_get_a_line_for_each_and_what_mends_it() {
    let place = Place::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = format!("relay.listen = '{}'", udp.local_addr().unwrap());
    let output = place.command(Command::new("env"), &settings).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().position(|line| line.starts_with("error    clients_port")).unwrap();
    let next = text.lines().nth(line + 1).unwrap().trim();
    assert!(next.starts_with("ss -apnu ") || next.starts_with("systemctl status "), "{text}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "wzp-relay: 1 thing is wrong\n");
}

#[test]
fn a_shell_takes_names_in_commands_as_they_are() {
    let place = Place::new();
    let folder = place.folder.path().join("it's; $(touch canary) \u{1b}[2J");
    std::fs::write(&folder, "no folder").unwrap();
    place.command(Command::new("env"), "ebpf.interfaces = ['no;such']");
    let mut command = Command::new(wzp_testbed::binaries::relay());
    command.args(["doctor", "--json", "--config"]).arg(place.folder.path().join("relay.toml"));
    command.arg("--state-dir").arg(&folder);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let command = |check: &str| {
        let all = report["checks"].as_array().unwrap();
        let line = all.iter().find(|line| line["check"] == check && line["command"].is_string());
        line.unwrap_or_else(|| panic!("{check}: {text}"))["command"].as_str().unwrap().to_owned()
    };
    let shown = shell(&format!("cd {}; {}", place.folder.path().display(), command("state")));
    assert!(shown.contains("-rw") && shown.contains("it's; $(touch canary)"), "{shown}");
    assert!(!place.folder.path().join("canary").exists());
    assert!(command("interface").ends_with("dev 'no;such'"), "{}", command("interface"));
}

#[test]
fn settings_are_not_good_where_something_is_wrong_with_them() {
    let place = Place::new();
    let settings = "auth.mode = 'webhook'\nauth.webhook.url = 'https://127.0.0.1:9/'";
    // Without authorities nobody can be asked by TLS.
    let mut nobody = Command::new("env");
    nobody.arg("SSL_CERT_FILE=/nonexistent");
    let told = place.look_from(nobody, settings);
    told.assert("configuration", "error", &["authority"]);
    place.look("auth.mode = 'none'").assert("configuration", "ok", &["set by you: "]);
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn nobody_fails_for_want_of_a_place_to_complain_to() {
    let place = Place::new();
    place.look("auth.mode = 'none'");
    let missing = ["--config", "/nonexistent"];
    let cases: [&[&str]; 5] = [
        &["config", "check", "--strict"],
        &["config", "check", missing[0], missing[1]],
        &missing,
        &["doctor", missing[0], missing[1]],
        &["audit", "verify", "/nonexistent"],
    ];
    for arguments in cases {
        let mut command = Command::new(wzp_testbed::binaries::relay());
        command.args(arguments).env("WZP_NONSENSE", "1");
        let status = command.stderr(full()).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_printed_is_told() {
    let place = Place::new();
    place.look("auth.mode = 'none'");
    let cases: [&[&str]; 3] = [&[], &["config", "show"], &["doctor"]];
    for arguments in cases {
        let mut command = Command::new("timeout");
        command.arg("30");
        let mut command = place.other(command, arguments);
        let output = command.stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("cannot write to standard output"), "{arguments:?}: {error}");
    }
}
