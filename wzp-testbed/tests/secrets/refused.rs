//! Settings that are wrong: what is said about them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use wzp_testbed::binaries;
use wzp_testbed::relay::temporary_state;
use wzp_transport::identity::Identity;

use crate::canary::{CANARY, assert_unseen, key, printed, relay};

/// A configuration in a folder of its own, with the files that it may name: `good.pem`, a
/// certificate and its key, and `bad.pem`, this one.
struct Place(TempDir);

impl Place {
    fn new(bad: &str) -> Self {
        let folder = temporary_state().unwrap();
        fs::write(folder.path().join("good.pem"), Identity::generate().unwrap().1).unwrap();
        fs::write(folder.path().join("bad.pem"), bad).unwrap();
        Self(folder)
    }

    /// The relay with these settings, `FOLDER` in them replaced by the folder.
    fn relay(&self, arguments: &[&str], settings: &str) -> Command {
        let folder = self.0.path();
        let path = folder.join("relay.toml");
        fs::write(&path, settings.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        let mut command = relay(arguments);
        if arguments.is_empty() {
            command.args(["--listen", "127.0.0.1:0", "--metrics-port", "0"]);
        }
        command.arg("--config").arg(path);
        command.arg("--state-dir").arg(folder.join("state"));
        command
    }
}

const IDENTITY: &str = "[relay]\ncert = 'FOLDER/good.pem'\nkey = 'FOLDER/bad.pem'\n";
const CERTIFICATE: &str = "[relay]\ncert = 'FOLDER/bad.pem'\nkey = 'FOLDER/good.pem'\n";
const WEB: &str = "[metrics]\nweb_config = 'FOLDER/bad.pem'\n";
const JWT: &str = "[auth]\nmode = 'jwt'\n";

fn web(key: &str) -> String {
    format!("tls_server_config:\n  cert_file: good.pem\n  key_file: {key}\n")
}

/// What is wrong in `bad.pem` or in the settings, and what is said of it.
fn cases() -> Vec<(String, String, &'static str)> {
    let of_key = [
        (key(" "), "line breaks"),
        (key("\\n"), "line breaks"),
        (key(""), "line breaks"),
        (key("\n"), "damaged"),
        (format!("-----BEGIN {CANARY}-----\n"), "END"),
        (format!("-----BEGIN PRIVATE KEY-----\n{CANARY}"), "END"),
        (format!("-----BEGIN PRIVATE KEY--{CANARY}"), "five dashes"),
        (format!("-----BEGIN PRIVATE KEY-----\n{CANARY}!\n-----END PRIVATE KEY-----\n"), "base64"),
        (CANARY.to_owned(), "not a PEM file"),
    ];
    let mut cases = Vec::new();
    for (bad, part) in of_key {
        cases.push((bad.clone(), IDENTITY.to_owned(), part));
        let certificate = bad.replace("PRIVATE KEY", "CERTIFICATE");
        cases.push((certificate, CERTIFICATE.to_owned(), part));
        let public = bad.replace("PRIVATE", "PUBLIC");
        let settings = format!("{JWT}jwt.public_key_files = ['FOLDER/bad.pem']\n");
        cases.push((public, settings.clone(), "bad.pem"));
        cases.push((bad, settings, "bad.pem"));
    }
    let secret = CANARY.to_owned();
    let settings = [
        (format!("{JWT}jwt.secret_files = ['FOLDER/bad.pem']\n"), "at least 32"),
        (format!("{JWT}jwt.secret_files = '{CANARY}'\n"), "secret_files"),
        (format!("{JWT}jwt.jwks_file = 'FOLDER/bad.pem'\n"), "Key Set"),
        (format!("{JWT}jwt.jwks_url = 'https://a:{CANARY}@keys'\n"), "jwks_url"),
        (format!("{JWT}jwt.jwks_url = 'ftp://keys/?{CANARY}'\n"), "jwks_url"),
        (format!("{JWT}jwt.jwks_url = 'https://keys/?{CANARY}\n"), "line 3"),
        (format!("[auth]\nmode = 'webhook'\nwebhook.url = '{CANARY}'\n"), "webhook.url"),
        (format!("[auth]\nmode = 'webhook'\nwebhook.url = 'http://a:99999/{CANARY}'\n"), "port"),
        (format!("[auth]\nmode = 'webhook'\nwebhook.url = https://a?{CANARY}\n"), "line 3"),
        (format!("[tracing]\nenabled = true\nendpoint = 'http://a:{CANARY}@b'\n"), "tracing"),
        (format!("[tracing]\nenabled = true\nendpoint = 'a:1?{CANARY}'\n"), "tracing"),
    ];
    cases.extend(settings.map(|(settings, part)| (secret.clone(), settings, part)));
    cases
}

#[test]
fn what_is_wrong_is_told_without_the_secret() {
    for (bad, settings, part) in cases() {
        let place = Place::new(&bad);
        for arguments in [&["config", "check"][..], &["doctor"], &[]] {
            let (output, text) = printed(&mut place.relay(arguments, &settings));
            assert!(!arguments.is_empty() || !output.status.success(), "{settings}: {text}");
            assert!(text.contains(part), "{settings}: {text}");
            assert_unseen(&settings, &text);
        }
    }
}

#[test]
fn what_protects_the_metrics_is_not_told() {
    let files = [
        (format!("basic_auth_users:\n  anna: {CANARY}\n"), "anna"),
        (format!("basic_auth_users: {CANARY}\n"), "line 1"),
        (format!("basic_auth_users:\n  anna: [{CANARY}\n"), "bad.pem, line"),
        (format!("basic_auth_users:\n{CANARY}: anna\n"), "bad.pem, line"),
        (format!("{}  min_version: {CANARY}\n", web("good.pem")), "line 4"),
        (format!("{}  {CANARY}: 1\n", web("good.pem")), "line 4"),
    ];
    for (file, part) in files {
        // It is only read by a relay that starts.
        let (output, text) = printed(&mut Place::new(&file).relay(&[], WEB));
        assert!(!output.status.success() && text.contains(part), "{file}: {text}");
        assert_unseen(&file, &text);
    }
    let place = Place::new(&key(" "));
    fs::write(place.0.path().join("web.yml"), web("bad.pem")).unwrap();
    let settings = WEB.replace("bad.pem", "web.yml");
    let (output, text) = printed(&mut place.relay(&[], &settings));
    assert!(!output.status.success() && text.contains("line breaks"), "{text}");
    assert_unseen("key_file", &text);
}

#[test]
fn a_key_among_the_authorities_is_not_told() {
    let place = Place::new(&key(" "));
    let authorities = |command: &mut Command, file: &Path| {
        command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
    };
    let bad = place.0.path().join("bad.pem");
    let settings = format!("{JWT}jwt.jwks_url = 'https://keys.example'\n");
    let mut of_relay = place.relay(&[], &settings);
    let mut of_client = Command::new(binaries::client());
    of_client.args(["--room", "lobby", "127.0.0.1:9"]);
    for command in [&mut of_relay, &mut of_client] {
        authorities(command, &bad);
        let (output, text) = printed(command);
        assert!(!output.status.success() && text.contains("SSL_CERT_FILE"), "{text}");
        assert_unseen("the authorities", &text);
    }
}

#[test]
fn help_shows_no_secret_of_the_environment() {
    for help in ["-h", "--help"] {
        let mut of_relay = relay(&[help]);
        of_relay.env("WZP_AUTH_URL", format!("https://app.example/?{CANARY}"));
        let mut of_client = Command::new(binaries::client());
        of_client.arg(help).env("WZP_TOKEN", CANARY);
        for command in [&mut of_relay, &mut of_client] {
            assert_unseen(help, &printed(command).1);
        }
    }
}
