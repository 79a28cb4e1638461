//! A relay that runs, with everything that can carry a secret, and every place where
//! one could come to light.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::temporary_state;
use wzp_testbed::service::{Answer, Service};
use wzp_transport::identity::Identity;

use crate::canary::{CANARY, assert_unseen, key, printed, relay};

const LIMIT: Duration = Duration::from_secs(60);

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: temporary_state().unwrap() };
        fs::write(place.file("relay.pem"), Identity::generate().unwrap().1).unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything on, and these settings of who may join.
    fn configure(&self, auth: &str) {
        let settings = format!(
            "[relay]\ncert = '{pem}'\nkey = '{pem}'\n\
             [logging]\nlevel = 'trace'\nfile = '{log}'\n\
             [audit]\nenabled = true\nfile = '{audit}'\n[auth]\n{auth}\n",
            pem = self.file("relay.pem").display(),
            log = self.file("relay.log").display(),
            audit = self.file("audit.log").display(),
        );
        fs::write(self.file("relay.toml"), settings).unwrap();
    }

    fn start(&self) -> Loopback {
        Loopback::new(&["--config", self.file("relay.toml").to_str().unwrap()])
    }

    /// What `wzp-relay ctl` prints.
    fn ctl(&self, loopback: &Loopback, arguments: &[&str]) -> String {
        let mut command = relay(&["ctl"]);
        command.args(arguments).arg("--state-dir").arg(loopback.state_dir());
        printed(&mut command).1
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }
}

/// A client of that token; what it printed.
fn join(loopback: &Loopback, token: &str) -> String {
    let client = loopback.client("lobby", "visitor");
    printed(client.command(&["--duration".into(), "0".into()]).env("WZP_TOKEN", token)).1
}

/// A scrape by somebody who shows a password.
fn scrape_with_password(loopback: &Loopback) -> String {
    let address = loopback.relay().metrics_address();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nAuthorization: Basic {CANARY}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("wzp_relay_auth_failures_total"), "{text}");
    text
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks everywhere, when the relay has ended.
fn assert_all_unseen(place: &Place, loopback: Loopback) {
    for command in [&["status"][..], &["sessions"], &["rooms"], &["status", "--json"]] {
        assert_unseen("ctl", &place.ctl(&loopback, command));
    }
    for path in ["/status", "/sessions", "/rooms", "/config"] {
        let answer = loopback.ask_admin("GET", path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_unseen(path, &answer.body);
    }
    assert_unseen("/metrics", &scrape_with_password(&loopback));
    for path in ["/health", "/ready", "/metrics?name=x"] {
        assert_unseen(path, &loopback.relay().get(path).unwrap().body);
    }
    let config = place.file("relay.toml");
    for command in [&["check"][..], &["show"], &["show", "--origin"]] {
        let mut command = { relay(&[&["config"], command].concat()) };
        assert_unseen("config", &printed(command.arg("--config").arg(&config)).1);
    }
    assert_unseen("standard error", &loopback.relay().log());
    loopback.stop();
    for file in ["relay.log", "audit.log"] {
        assert_unseen(file, &place.text(file));
    }
}

#[test]
fn a_service_its_url_and_its_answers_are_not_told_nor_tokens() {
    let service = Service::start(|asked| {
        let answer = match () {
            () if asked.body.contains("odd") => format!(r#"{{"allow":"{CANARY}"}}"#),
            () if asked.body.contains("html") => format!("<html>{CANARY}"),
            () if asked.body.contains("time") => {
                format!(r#"{{"allow":true,"expires_in":"{CANARY}"}}"#)
            }
            () if asked.body.contains("down") => {
                return Answer::Http(500, format!("x-key: {CANARY}\r\n"), CANARY.into());
            }
            () if asked.body.contains("lost") => {
                let to = format!("location: https://app.example/?{CANARY}\r\n");
                return Answer::Http(302, to, String::new());
            }
            () => r#"{"allow":true}"#.to_owned(),
        };
        Answer::Http(200, String::new(), answer)
    });
    let place = Place::new();
    let url = |path: &str| {
        let url = service.url(&format!("/{path}?key={CANARY}"));
        format!("mode = 'webhook'\nwebhook.url = '{url}'\nwebhook.breaker_failures = 100")
    };
    place.configure(&url("one"));
    let loopback = place.start();
    for token in ["good", "odd", "html", "time", "down", "lost"] {
        join(&loopback, &format!("{token} {CANARY}"));
    }
    assert_eq!(service.asked().len(), 6);
    assert!(service.asked().iter().all(|asked| asked.path.ends_with(CANARY)), "it is sent");

    place.configure(&url("two"));
    let told = place.ctl(&loopback, &["reload"]);
    assert!(told.contains("auth.webhook.url") && told.contains("/two?(redacted)"), "{told}");
    assert_unseen("ctl reload", &told);
    fs::write(place.file("relay.pem"), key(" ")).unwrap();
    let told = place.ctl(&loopback, &["reload"]);
    assert!(told.contains("line breaks"), "{told}");
    assert_unseen("ctl reload", &told);
    assert!(place.text("audit.log").contains("line breaks"));
    wait_for("the log", || place.text("relay.log").contains("line breaks"));
    assert_all_unseen(&place, loopback);
}

#[test]
fn key_sets_and_what_is_in_tokens_are_not_told() {
    let sets = Service::start(|_| {
        let set = format!(r#"{{"keys":[{{"kty":"oct","k":"{CANARY}"}},"{CANARY}"]}}"#);
        Answer::Http(200, String::new(), set)
    });
    let place = Place::new();
    let secret = format!("{CANARY}{CANARY}");
    fs::write(place.file("secret"), &secret).unwrap();
    place.configure(&format!(
        "mode = 'jwt'\njwt.jwks_url = '{}'\njwt.secret_files = ['{}']",
        sets.url(&format!("/keys?key={CANARY}")),
        place.file("secret").display()
    ));
    let loopback = place.start();
    let sign = |claims: serde_json::Value| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let claims = [
        serde_json::json!({"exp": CANARY, "room": "lobby"}),
        serde_json::json!({"exp": 9_999_999_999u64, "room": {"name": CANARY}}),
        serde_json::json!({"exp": 9_999_999_999u64, "room": "lobby", "aud": CANARY}),
        serde_json::json!({"exp": 9_999_999_999u64, "room": "lobby", "publish": CANARY}),
    ];
    for claims in claims {
        let told = join(&loopback, &sign(claims));
        assert!(told.contains("bad_token"), "{told}");
        assert_unseen("the client", &told);
    }
    for token in [CANARY.to_owned(), format!("{CANARY}.{CANARY}.{CANARY}")] {
        assert_unseen("the client", &join(&loopback, &token));
    }
    wait_for("the set", || place.text("relay.log").contains("cannot be fetched"));
    assert_all_unseen(&place, loopback);
}
