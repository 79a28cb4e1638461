use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use wzp_telemetry::settings;
use wzp_testbed::service::{Answer, Service};

use super::super::breaker::BreakerState;
use wzp_sfu::access::{Grant, Refusal};

use super::super::request;
use super::*;
use crate::config::{JwtSection, WebhookSection};
use wzp_sfu::count::reason::AuthFailReason;

fn start(section: &AuthSection) -> Authenticator {
    Authenticator::new(section, Audit::default()).unwrap()
}

async fn decide(authenticator: &Authenticator, request: AuthRequest) -> Result<Grant, Refusal> {
    authenticator.answer(request).await.unwrap().result
}

/// Why a token is refused; `None` if it is good.
async fn refusal(authenticator: &Authenticator, token: &str) -> Option<AuthFailReason> {
    refusal_from(authenticator, 1, token).await
}

/// The same for somebody of another address.
async fn refusal_from(
    authenticator: &Authenticator,
    address: u8,
    token: &str,
) -> Option<AuthFailReason> {
    let request = AuthRequest { ip: [192, 0, 2, address].into(), ..request(token) };
    decide(authenticator, request).await.err().map(|refusal| refusal.reason)
}

fn ok(body: impl Into<String>) -> Answer {
    Answer::Http(200, String::new(), body.into())
}

/// A signing key that tokens name by `kid`.
struct Signer {
    kid: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { kid, key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap() }
    }

    fn token(&self) -> String {
        let header = Header { kid: Some(self.kid.into()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims(), &self.key).unwrap()
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.kid.into());
        jwk
    }
}

fn claims() -> serde_json::Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"exp": now + 600, "room": "*"})
}

fn set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

fn by_url(url: String) -> AuthSection {
    let jwt = JwtSection {
        jwks_url: Some(url),
        jwks_timeout: Duration::from_secs(5),
        ..JwtSection::default()
    };
    AuthSection { mode: AuthMode::Jwt, jwt, ..AuthSection::default() }
}

fn by_file(file: &Path) -> AuthSection {
    let jwt = JwtSection { jwks_file: Some(file.into()), ..JwtSection::default() };
    AuthSection { mode: AuthMode::Jwt, jwt, ..AuthSection::default() }
}

fn webhook(url: String, rules: WebhookSection) -> AuthSection {
    let webhook = WebhookSection { url: Some(url), ..rules };
    AuthSection { mode: AuthMode::Webhook, webhook, ..AuthSection::default() }
}

fn reload(authenticator: &Authenticator, to: &AuthSection) -> Result<KeyChange, AuthError> {
    authenticator.prepare(to).map(|next| authenticator.take(next))
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_when_a_token_names_it_and_only_so_often() {
    let (old, new, stranger) = (Signer::new("old"), Signer::new("new"), Signer::new("stranger"));
    let published = Arc::new(Mutex::new(set(&[&old])));
    let of_server = published.clone();
    let server = Service::start(move |_| ok(of_server.lock().unwrap().clone()));
    let authenticator = start(&by_url(server.url("/keys")));
    assert_eq!(refusal(&authenticator, &old.token()).await, None, "waits for the first set");

    *published.lock().unwrap() = set(&[&old, &new]);
    let before = server.asked().len();
    assert_eq!(refusal(&authenticator, &new.token()).await, None);
    assert_eq!(refusal(&authenticator, &old.token()).await, None);
    for _ in 0..10 {
        let reason = refusal(&authenticator, &stranger.token()).await;
        assert_eq!(reason, Some(AuthFailReason::UnknownKey));
    }
    assert!(server.asked().len() <= before + 1, "{:?}", server.asked());
    let stats = authenticator.stats();
    assert!(stats.jwks_last_success().is_some());
    assert_eq!(
        (stats.decisions.granted(), stats.decisions.failures(AuthFailReason::UnknownKey)),
        (3, 10)
    );
    assert_eq!(stats.decisions.duration.reading().counts.last(), Some(&13));
}

#[tokio::test]
async fn a_set_that_has_other_keys_when_it_is_fetched_again_is_in_the_audit_log() {
    let (old, new, stranger) = (Signer::new("old"), Signer::new("new"), Signer::new("stranger"));
    let published = Arc::new(Mutex::new(set(&[&old])));
    let of_server = published.clone();
    let server = Service::start(move |_| ok(of_server.lock().unwrap().clone()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let enabled = settings::Audit { enabled: true, ..settings::Audit::default() };
    let audit = Audit::start(&enabled, &path).unwrap();
    let section = by_url(server.url("/keys"));
    let authenticator = Authenticator::new(&section, audit.clone()).unwrap();
    assert_eq!(refusal(&authenticator, &old.token()).await, None);
    *published.lock().unwrap() = set(&[&new]);
    assert_eq!(refusal(&authenticator, &new.token()).await, None);
    // Fetched again, and the same.
    assert!(!reload(&authenticator, &section).unwrap().is_any());
    let reason = refusal(&authenticator, &stranger.token()).await;
    assert_eq!(reason, Some(AuthFailReason::UnknownKey));
    assert!(server.asked().len() > 2);

    // Records are in the order in which they were told of.
    crate::audit::lifecycle(&audit, "over").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let rotations = lines.filter(|line| line["event"] == "key_rotation");
    let told: Vec<_> = rotations
        .map(|line| {
            assert!(line["user"].as_str().unwrap().starts_with("program@"), "{line}");
            line["details"].clone()
        })
        .collect();
    let expected = [
        json!({"what": "token_keys", "old_key_id": "", "new_key_id": "old",
               "token_keys_added": ["old"], "token_keys_removed": []}),
        json!({"what": "token_keys", "old_key_id": "old", "new_key_id": "new",
               "token_keys_added": ["new"], "token_keys_removed": ["old"]}),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn keys_are_kept_while_their_server_is_away_and_none_is_made_up() {
    let signer = Signer::new("one");
    let published = set(&[&signer]);
    let server = Service::start(move |_| ok(published.clone()));
    let section = by_url(server.url("/keys"));
    let authenticator = start(&section);
    assert_eq!(refusal(&authenticator, &signer.token()).await, None);
    drop(server);
    assert_eq!(refusal(&authenticator, &signer.token()).await, None);
    // A key that is not known may be a new one, which nobody can tell now.
    let other = Signer::new("other").token();
    assert_eq!(refusal(&authenticator, &other).await, Some(AuthFailReason::Unavailable));
    // Reloading the same place keeps what came from there.
    assert!(!reload(&authenticator, &section).unwrap().is_any());
    assert_eq!(refusal(&authenticator, &signer.token()).await, None);

    let without = start(&section);
    assert_eq!(refusal(&without, &signer.token()).await, Some(AuthFailReason::Unavailable));
    assert!(without.stats().jwks_fetches().1 > 0);
}

#[tokio::test]
async fn a_reload_tells_which_keys_came_and_went_and_changes_nothing_if_it_fails() {
    let (one, two, three) = (Signer::new("one"), Signer::new("two"), Signer::new("three"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, set(&[&one, &two])).unwrap();
    let authenticator = start(&by_file(&file));
    let patience = authenticator.patience();
    assert!(patience.get().is_some());

    std::fs::write(&file, set(&[&two, &three])).unwrap();
    assert_eq!(refusal(&authenticator, &one.token()).await, None, "not read again by itself");
    let change = reload(&authenticator, &by_file(&file)).unwrap();
    assert_eq!((change.added(), change.removed()), (vec!["three".into()], vec!["one".into()]));
    let reason = refusal(&authenticator, &one.token()).await;
    assert_eq!(reason, Some(AuthFailReason::UnknownKey));
    assert_eq!(refusal(&authenticator, &three.token()).await, None);

    std::fs::write(&file, "nonsense").unwrap();
    let error = reload(&authenticator, &by_file(&file)).unwrap_err().to_string();
    assert!(error.contains("keys.json"), "{error}");
    assert_eq!(refusal(&authenticator, &three.token()).await, None);

    let change = reload(&authenticator, &AuthSection::default()).unwrap();
    assert_eq!(change.removed(), ["three", "two"]);
    assert_eq!((patience.get(), refusal(&authenticator, "").await), (None, None));
}

#[tokio::test]
async fn the_service_is_asked_once_for_the_same_question() {
    let server = Service::start(|asked| {
        let question: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let allow = question["token"] == "good";
        ok(json!({"allow": allow, "reason": "unpaid"}).to_string())
    });
    let section = webhook(server.url("/auth"), WebhookSection::default());
    let authenticator = start(&section);
    for _ in 0..3 {
        assert_eq!(refusal(&authenticator, "good").await, None);
        let refused = decide(&authenticator, request("bad")).await.unwrap_err();
        assert_eq!(refused.reason, AuthFailReason::Denied);
        assert!(refused.text.ends_with("unpaid"), "{}", refused.text);
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let question: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    let expected = json!({"token": "good", "room": "lobby", "name": "anna", "ip": "192.0.2.1"});
    assert_eq!(question, expected);
    let elsewhere = AuthRequest { room: "other".into(), ..request("good") };
    assert!(decide(&authenticator, elsewhere).await.is_ok());
    assert_eq!(server.asked().len(), 3, "another room is another question");
}

#[tokio::test]
async fn a_service_that_fails_for_many_is_left_alone() {
    let (failed, odd) = (Some(AuthFailReason::Unavailable), Some(AuthFailReason::Unavailable));
    let http = |status| Answer::Http(status, String::new(), String::new());
    let huge = "x".repeat(1 << 20);
    let cases = [
        (http(500), failed, true),
        (http(503), failed, true),
        (Answer::Silence, failed, true),
        (ok("garbage"), odd, false),
        (ok(huge), odd, false),
        (http(302), odd, false),
        (http(408), odd, false),
        (http(429), odd, false),
        (http(400), Some(AuthFailReason::Denied), false),
        (http(404), Some(AuthFailReason::Denied), false),
    ];
    for (answer, reason, opens) in cases {
        let of_server = answer.clone();
        let server = Service::start(move |_| of_server.clone());
        // Short only where it is to pass: a busy machine may take long to answer.
        let is_silent = matches!(answer, Answer::Silence);
        let rules = WebhookSection {
            timeout: Duration::from_millis(if is_silent { 200 } else { 60_000 }),
            breaker_failures: 2,
            breaker_pause: Duration::from_secs(3600),
            ..WebhookSection::default()
        };
        let authenticator = start(&webhook(server.url("/"), rules));
        for address in 1..=2 {
            assert_eq!(refusal_from(&authenticator, address, "any").await, reason, "{answer:?}");
        }
        let state = if opens { BreakerState::Open } else { BreakerState::Closed };
        assert_eq!(authenticator.stats().breaker(), state, "{answer:?}");
        let again = refusal_from(&authenticator, 1, "other").await;
        let expected = if opens { Some(AuthFailReason::SourcePaused) } else { reason };
        assert_eq!(again, expected, "{answer:?}");
        assert_eq!(server.asked().len(), if opens { 2 } else { 3 }, "{answer:?}");
    }
}

/// A service that lets everybody in but those whose token makes it fail.
fn moody() -> Service {
    Service::start(|asked| {
        let question: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        match question["token"].as_str().unwrap().split(' ').next() {
            Some("fail") => Answer::Http(500, String::new(), String::new()),
            Some("odd") => ok("<html>"),
            Some("refuse") => Answer::Http(400, String::new(), String::new()),
            Some("hang") => Answer::Silence,
            _ => ok(r#"{"allow":true}"#),
        }
    })
}

#[tokio::test]
async fn no_stranger_closes_the_door_to_others() {
    let server = moody();
    let rules = WebhookSection {
        timeout: Duration::from_secs(60),
        breaker_pause: Duration::from_secs(3600),
        ..WebhookSection::default()
    };
    for (token, reason, then) in [
        ("fail", AuthFailReason::Unavailable, AuthFailReason::SourcePaused),
        ("odd", AuthFailReason::Unavailable, AuthFailReason::Unavailable),
        ("refuse", AuthFailReason::Denied, AuthFailReason::Denied),
    ] {
        let authenticator = start(&webhook(server.url("/"), rules.clone()));
        for number in 0..20 {
            let token = format!("{token} {number}");
            let expected = if number < rules.breaker_failures { reason } else { then };
            assert_eq!(refusal_from(&authenticator, 1, &token).await, Some(expected), "{token}");
        }
        assert_eq!(refusal_from(&authenticator, 2, "good").await, None, "{token}");
        assert_eq!(authenticator.stats().breaker(), BreakerState::Closed);
    }
    let failing = server.asked().iter().filter(|asked| asked.body.contains("fail ")).count();
    assert_eq!(failing, 5, "then it is not asked for that address");
}

#[tokio::test]
async fn many_strangers_keep_nobody_out_who_has_not_failed() {
    let server = moody();
    let rules = WebhookSection {
        timeout: Duration::from_secs(60),
        breaker_failures: 3,
        breaker_pause: Duration::from_secs(3600),
        ..WebhookSection::default()
    };
    let authenticator = Arc::new(start(&webhook(server.url("/"), rules)));
    for address in 1..=3 {
        let reason = refusal_from(&authenticator, address, "fail").await;
        assert_eq!(reason, Some(AuthFailReason::Unavailable));
    }
    assert_eq!(authenticator.stats().breaker(), BreakerState::Open);
    let reason = refusal_from(&authenticator, 3, "fail").await;
    assert_eq!(reason, Some(AuthFailReason::SourcePaused));
    // A household that comes at once: one tries, the others wait for what it hears.
    let mut household = tokio::task::JoinSet::new();
    for number in 0..20 {
        let authenticator = authenticator.clone();
        let token = format!("good {number}");
        household.spawn(async move { refusal_from(&authenticator, 9, &token).await });
    }
    assert_eq!(household.join_all().await, [None; 20]);
    assert_eq!(authenticator.stats().breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn requests_that_hang_leave_turns_to_others() {
    let server = moody();
    let rules = WebhookSection {
        max_concurrent: 8,
        timeout: Duration::from_secs(3600),
        ..WebhookSection::default()
    };
    let authenticator = Arc::new(start(&webhook(server.url("/"), rules)));
    let mut hanging = tokio::task::JoinSet::new();
    for number in 0..100 {
        let authenticator = authenticator.clone();
        let token = format!("hang {number}");
        hanging.spawn(async move { refusal_from(&authenticator, 1, &token).await });
    }
    let asked = async {
        while server.asked().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap();
    let others = async {
        for number in 0..20 {
            assert_eq!(refusal_from(&authenticator, 2, &number.to_string()).await, None);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), others).await.unwrap();
    assert_eq!(server.asked().len(), 2 + 20, "one has two at a time until it is answered");
}

#[tokio::test]
async fn who_waits_for_the_breaker_has_no_turn_meanwhile() {
    let server = moody();
    let pause = Duration::from_millis(50);
    let rules = WebhookSection {
        max_concurrent: 8,
        timeout: Duration::from_secs(3600),
        breaker_failures: 2,
        breaker_pause: pause,
        ..WebhookSection::default()
    };
    let authenticator = Arc::new(start(&webhook(server.url("/"), rules)));
    for address in [1, 2] {
        let reason = refusal_from(&authenticator, address, "fail").await;
        assert_eq!(reason, Some(AuthFailReason::Unavailable));
    }
    // Strangers of as many networks as there are turns: half of them try.
    let mut hanging = tokio::task::JoinSet::new();
    for network in 0..8 {
        let ip = [198, 51, network, 1].into();
        let (authenticator, stranger) =
            (authenticator.clone(), AuthRequest { ip, ..request("hang") });
        hanging.spawn(async move { decide(&authenticator, stranger).await });
    }
    let answered = async {
        while server.asked().len() < 2 + 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while refusal_from(&authenticator, 1, "good").await.is_some() {
            tokio::time::sleep(pause).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap();
}

#[tokio::test]
async fn a_new_key_is_known_soon_whoever_asked_for_others_before() {
    let (old, new, stranger) = (Signer::new("old"), Signer::new("new"), Signer::new("stranger"));
    let published = Arc::new(Mutex::new(set(&[&old])));
    let of_server = published.clone();
    let server = Service::start(move |_| ok(of_server.lock().unwrap().clone()));
    let authenticator = start(&by_url(server.url("/keys")));
    for address in [1, 2] {
        let reason = refusal_from(&authenticator, address, &stranger.token()).await;
        assert_eq!(reason, Some(AuthFailReason::UnknownKey));
    }
    *published.lock().unwrap() = set(&[&old, &new]);
    assert_eq!(refusal_from(&authenticator, 3, &new.token()).await, None);
    assert_eq!(refusal_from(&authenticator, 1, &new.token()).await, None);
}

#[tokio::test]
async fn a_fetch_that_hangs_keeps_nobody_waiting_whose_key_is_known() {
    let (known, stranger) = (Signer::new("known"), Signer::new("stranger"));
    let published = set(&[&known]);
    let first = std::sync::atomic::AtomicBool::new(true);
    let server =
        Service::start(move |_| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => ok(published.clone()),
            false => Answer::Silence,
        });
    let mut section = by_url(server.url("/keys"));
    section.jwt.jwks_timeout = Duration::from_secs(3600);
    let authenticator = Arc::new(start(&section));
    assert_eq!(refusal(&authenticator, &known.token()).await, None);
    let of_stranger = authenticator.clone();
    let waits = tokio::spawn(async move { refusal(&of_stranger, &stranger.token()).await });
    let asked = async {
        while server.asked().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for address in 1..100 {
            assert_eq!(refusal_from(&authenticator, address, &known.token()).await, None);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap();
    waits.abort();
}

#[tokio::test]
async fn a_service_that_comes_back_is_found() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let of_server = down.clone();
    let server =
        Service::start(move |_| match of_server.load(std::sync::atomic::Ordering::Relaxed) {
            true => Answer::Http(503, String::new(), String::new()),
            false => ok(r#"{"allow":true}"#),
        });
    let pause = Duration::from_millis(50);
    let rules =
        WebhookSection { breaker_failures: 1, breaker_pause: pause, ..WebhookSection::default() };
    let authenticator = start(&webhook(server.url("/"), rules));
    for address in [1, 2] {
        let reason = refusal_from(&authenticator, address, "any").await;
        assert_eq!(reason, Some(AuthFailReason::Unavailable));
    }
    assert_eq!(authenticator.stats().breaker(), BreakerState::Open);
    down.store(false, std::sync::atomic::Ordering::Relaxed);
    let back = async {
        // Its address is paused, but for one try.
        while refusal(&authenticator, "any").await.is_some() {
            tokio::time::sleep(pause).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
    assert_eq!(authenticator.stats().breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn who_cannot_get_a_turn_in_time_is_told_so() {
    let server = Service::start(|_| Answer::Silence);
    let rules = WebhookSection {
        timeout: Duration::from_millis(200),
        max_concurrent: 1,
        ..WebhookSection::default()
    };
    let authenticator = start(&webhook(server.url("/"), rules));
    let authenticator = Arc::new(authenticator);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..10 {
        let authenticator = authenticator.clone();
        waiting.spawn(async move { refusal(&authenticator, &number.to_string()).await });
    }
    let reasons = waiting.join_all().await;
    assert!(!reasons.contains(&None), "{reasons:?}");
    // Only who waited until somebody else's time was over may have had a turn.
    let busy = authenticator.stats().decisions.failures(AuthFailReason::Busy);
    assert!((5..10).contains(&busy), "{reasons:?}");
}
