//! Certificates and keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use wzp_testbed::relay::{Launch, Relay};
use wzp_testbed::{binaries, skip};

use crate::place::{Place, shell};

fn pair(path: &Path) -> String {
    format!("relay.cert = '{0}'\nrelay.key = '{0}'", path.display())
}

#[test]
fn a_certificate_is_told_before_clients_find_out() {
    let place = Place::new();
    let cases = [
        ("old.pem", -9..-1, "error", "expired on"),
        ("later.pem", 9..99, "error", "clock right"),
        ("own.pem", -9..99, "warning", "no authority that this host trusts"),
    ];
    for (name, days, status, part) in cases {
        let path = place.certificate(name, days);
        place.look(&pair(&path)).assert("certificate", status, &[part, "openssl", name]);
    }
    // One that this host trusts, because it is told to.
    let path = place.folder.path().join("own.pem");
    let mut trusting = Command::new("env");
    trusting.arg(format!("SSL_CERT_FILE={}", path.display()));
    place.look_from(trusting, &pair(&path)).assert("certificate", "ok", &["relay.test"]);
}

#[test]
fn a_chain_is_good_for_as_long_as_all_of_it() {
    let place = Place::new();
    let good = place.certificate("good.pem", -9..99);
    let soon = fs::read_to_string(place.certificate("soon.pem", -9..9)).unwrap();
    let soon = &soon[..soon.find("-----BEGIN PRIVATE").unwrap()];
    let chain = place.certificate("it's a chain.pem", -9..99);
    fs::write(&chain, fs::read_to_string(&chain).unwrap() + soon).unwrap();
    let mut trusting = Command::new("env");
    trusting.arg(format!("SSL_CERT_FILE={}", chain.display()));
    let settings = format!("relay.cert = \"{0}\"\nrelay.key = \"{0}\"", chain.display());
    let told = place.look_from(trusting, &settings);
    told.assert("certificate", "warning", &["certificate 2 of the chain expires on"]);
    let check = place.other(Command::new("env"), &["config", "check"]).output().unwrap();
    let said = String::from_utf8(check.stderr).unwrap();
    assert!(said.contains("certificate 2 of the chain expires on"), "{said}");
    if skip::have_program("a_chain_is_good_for_as_long_as_all_of_it", "openssl") {
        let shown = shell(told.command("certificate"));
        assert_eq!(shown.matches("Not After").count(), 2, "{shown}");
    }
    // Whoever watches is told the same.
    let at = |path: &Path| {
        let launch = Launch {
            program: binaries::relay(),
            namespace: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            state_dir: place.state(),
            arguments: ["--cert".into(), path.into(), "--key".into(), path.into()].into(),
        };
        let relay = Relay::start(&launch).unwrap();
        let scrape = relay.scrape().unwrap();
        let expires = scrape.sum("wzp_relay_certificate_expiry_timestamp_seconds", &[]).unwrap();
        relay.stop().unwrap();
        expires
    };
    let days = (at(&good) - at(&chain)) / 86_400.0;
    assert!((days - 90.0).abs() < 1.0, "{days}");
}

#[test]
fn a_key_that_all_can_read_is_mended_as_told() {
    let place = Place::new();
    let key = place.certificate("$(touch canary) key.pem", -9..99);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let is_told = || {
        let told = place.look(&pair(&key));
        let lines = told.lines("certificate");
        let line = lines.into_iter().find(|line| line.1.contains("every user"));
        line.map(|line| line.2.to_owned())
    };
    let command = is_told().expect("it is exposed");
    assert!(command.starts_with("chmod o= "), "{command}");
    assert_eq!(shell(&command), "");
    assert_eq!(is_told(), None);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o640);
}
