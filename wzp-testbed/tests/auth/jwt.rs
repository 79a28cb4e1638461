//! The relay decides by signature and claims.

use std::sync::{Arc, Mutex};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use wzp_testbed::client::Client;
use wzp_testbed::service::{Answer, Service};

use crate::token::{SECRET, Signer, claims, now, token};
use crate::{LIMIT, attempts, failures, folder, outcome, relay, visit};

/// Takes HS256 and RS256 for the audience "relay", to the second.
const SECTION: &str = "mode = 'jwt'\njwt.audience = ['relay']\njwt.leeway = '0s'\n";

#[test]
fn what_is_wrong_with_a_token_is_told_counted_and_has_its_exit_code() {
    let folder = folder();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let rsa = Signer::new(Algorithm::RS256);
    let section = format!(
        "{SECTION}jwt.secret_files = ['{}']\njwt.public_key_files = ['{}']\n",
        file("secret", SECRET),
        file("rsa.pem", &rsa.public_pem)
    );
    let loopback = relay(&folder, &section);

    let foreign = |key: &[u8]| {
        encode(&Header::default(), &claims(json!({})), &EncodingKey::from_secret(key)).unwrap()
    };
    let good = token(json!({}));
    let (header, rest) = good.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{rest}");
    let cases = [
        (String::new(), "missing", "bad_token", "without a token"),
        ("nonsense".into(), "malformed", "bad_token", "not a JSON Web Token"),
        (format!("{header}.{}", "A".repeat(8000)), "malformed", "bad_token", "three parts"),
        (none, "algorithm", "bad_token", "HS256"),
        (foreign(b"another secret, also of 32 bytes"), "signature", "bad_token", "signature"),
        (foreign(rsa.public_pem.as_bytes()), "signature", "bad_token", "signature"),
        (Signer::new(Algorithm::RS256).token(None), "signature", "bad_token", "signature"),
        (Signer::new(Algorithm::EdDSA).token(None), "unknown_key", "bad_token", "`kid`"),
        (token(json!({"exp": now() - 100})), "expired", "token_expired", "expired 10"),
        (token(json!({"nbf": now() + 1000})), "not_yet_valid", "bad_token", "not valid yet"),
        (token(json!({"aud": "another"})), "audience", "bad_token", "auth.jwt.audience"),
        (token(json!({"room": "elsewhere"})), "room", "not_allowed", "another room"),
        (token(json!({"room": null})), "claims", "bad_token", "`room`"),
        (token(json!({"exp": null})), "claims", "bad_token", "`exp`"),
    ];
    let count = cases.len() as f64;
    for (token, reason, code, sentence) in cases {
        let before = failures(loopback.relay(), reason);
        let (exit, message) = outcome(&visit(&loopback, &token));
        assert_eq!(exit, Some(9), "{reason}: {message}");
        assert!(message.contains(code) && message.contains(sentence), "{reason}: {message}");
        assert_eq!(failures(loopback.relay(), reason), before + 1.0, "{reason}");
    }
    let (exit, message) = outcome(&visit(&loopback, &good));
    assert_eq!(exit, Some(0), "{message}");
    assert_eq!(attempts(loopback.relay()), [1.0, count]);
    let log = loopback.relay().log();
    assert!(!log.contains(rest) && !log.contains(SECRET), "a secret is in the log");
    loopback.stop();
}

#[test]
fn good_tokens_of_every_kind_join() {
    let folder = folder();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (rsa, ed) = (Signer::new(Algorithm::RS256), Signer::new(Algorithm::EdDSA));
    let [by_file, by_url, later] = [(); 3].map(|()| Signer::new(Algorithm::ES256));
    let set = |keys: &[_]| json!({ "keys": keys }).to_string();
    let published = Arc::new(Mutex::new(set(&[by_url.jwk("first")])));
    let of_server = published.clone();
    let server = Service::start(move |_| {
        Answer::Http(200, String::new(), of_server.lock().unwrap().clone())
    });
    let section = format!(
        "{SECTION}jwt.secret_files = ['{}']\njwt.public_key_files = ['{}', '{}']\n\
         jwt.jwks_file = '{}'\njwt.jwks_url = '{}'\n",
        file("secret", &format!("{SECRET}\n")),
        file("rsa.pem", &rsa.public_pem),
        file("ed.pem", &ed.public_pem),
        file("keys.json", &set(&[by_file.jwk("of a file")])),
        server.url("/keys")
    );
    let loopback = relay(&folder, &section);
    let joins = |token: &str, which: &str| {
        let (exit, message) = outcome(&visit(&loopback, token));
        assert_eq!(exit, Some(0), "{which}: {message}");
    };
    joins(&token(json!({})), "HS256");
    joins(&token(json!({"room": ["a", "lobby"]})), "a list of rooms");
    joins(&token(json!({"room": "*", "sub": "anna"})), "any room");
    joins(&rsa.token(None), "RS256");
    joins(&ed.token(None), "EdDSA");
    joins(&by_file.token(Some("of a file")), "JWKS file");
    joins(&by_url.token(Some("first")), "JWKS URL");
    // The issuer has a new key from now on.
    *published.lock().unwrap() = set(&[later.jwk("second")]);
    joins(&later.token(Some("second")), "rotated");
    let (exit, message) = outcome(&visit(&loopback, &by_url.token(Some("first"))));
    assert_eq!(exit, Some(9), "its key is gone: {message}");
    assert_eq!(attempts(loopback.relay()), [8.0, 1.0]);
    loopback.stop();
}

/// A relay that takes tokens of [`SECRET`].
fn simple() -> (tempfile::TempDir, wzp_testbed::loopback::Loopback) {
    let folder = folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let loopback = relay(&folder, &format!("{SECTION}jwt.secret_files = ['{}']", secret.display()));
    (folder, loopback)
}

#[test]
fn who_may_not_talk_is_not_heard_and_who_may_not_listen_hears_nothing() {
    let (_folder, loopback) = simple();
    let start = |name: &str, others, arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        let mut command = loopback.client("lobby", name).command(&arguments);
        command.env("WZP_TOKEN", token(others));
        Client::from_command(name, command).unwrap()
    };
    let talks = ["--wait-for", "2", "--send-tone", "1", "--linger", "2"];
    let both = start("both", json!({}), &talks);
    let listener = start("listener", json!({"publish": false}), &talks);
    let talker = start("talker", json!({"listen": false}), &talks);
    let heard = |client: Client| {
        let summary = client.finish(LIMIT).unwrap();
        let talkers = summary.talkers.iter().filter(|talker| talker.received > 0);
        let mut names: Vec<_> = talkers.map(|talker| talker.name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(heard(both), ["talker"]);
    assert_eq!(heard(listener), ["both", "talker"]);
    assert!(heard(talker).is_empty());
    let scrape = loopback.relay().scrape().unwrap();
    let dropped =
        scrape.sum("wzp_relay_packets_dropped_total", &[("reason", "may_not_publish")]).unwrap();
    assert!(dropped >= 40.0, "{dropped}");
    loopback.stop();
}

#[test]
fn a_token_that_expires_ends_the_call() {
    let (_folder, loopback) = simple();
    let mut command =
        loopback.client("lobby", "anna").command(&["--send-tone".into(), "60".into()]);
    command.env("WZP_TOKEN", token(json!({"exp": now() + 2})));
    let output = command.output().unwrap();
    let (exit, message) = outcome(&output);
    assert_eq!(exit, Some(9), "{message}");
    assert!(message.contains("token_expired") && message.contains("new one"), "{message}");
    let scrape = loopback.relay().scrape().unwrap();
    let closed = scrape.sum("wzp_relay_connections_closed_total", &[("reason", "token_expired")]);
    assert_eq!(closed, Some(1.0));
    assert_eq!(attempts(loopback.relay()), [1.0, 0.0], "it was good when it was shown");
    loopback.stop();
}
