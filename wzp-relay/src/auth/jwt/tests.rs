use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, encode};
use proptest::prelude::*;
use rcgen::PublicKeyData;
use serde_json::{Value, json};

use super::super::request;
use super::*;

const SECRET: &[u8] = b"a secret of more than 32 bytes, for tests";

/// One pair of each kind: making an RSA key takes long.
struct Pairs {
    rsa: rcgen::KeyPair,
    ed: rcgen::KeyPair,
    ec: rcgen::KeyPair,
}

static PAIRS: LazyLock<Pairs> = LazyLock::new(|| {
    let make = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
    Pairs {
        rsa: make(&rcgen::PKCS_RSA_SHA256),
        ed: make(&rcgen::PKCS_ED25519),
        ec: make(&rcgen::PKCS_ECDSA_P256_SHA256),
    }
});

/// A relay that has all these keys, or only the RSA one.
fn relay(only_rsa: bool) -> Jwt {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let mut rules = JwtSection {
        public_key_files: vec![file("rsa.pem", PAIRS.rsa.public_key_pem().as_bytes())],
        ..JwtSection::default()
    };
    if !only_rsa {
        rules.public_key_files.push(file("ed.pem", PAIRS.ed.public_key_pem().as_bytes()));
        rules.public_key_files.push(file("ec.pem", PAIRS.ec.public_key_pem().as_bytes()));
        rules.secret_files = vec![file("secret", SECRET)];
    }
    let keys = KeySet::from_files(&rules).unwrap();
    Jwt::new(rules, keys, None)
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({"exp": now + 600, "room": "lobby", "sub": "anna"})
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET)
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(PAIRS.rsa.serialize_pem().as_bytes()).unwrap()
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    encode(header, claims, key).unwrap()
}

fn decide(relay: &Jwt, token: &str) -> Result<Grant, Refusal> {
    // Without a key set to fetch nothing waits.
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(relay.decide(&request(token)))
}

#[test]
fn each_algorithm_with_its_own_key_is_good() {
    let relay = relay(false);
    let ed = EncodingKey::from_ed_pem(PAIRS.ed.serialize_pem().as_bytes()).unwrap();
    let ec = EncodingKey::from_ec_pem(PAIRS.ec.serialize_pem().as_bytes()).unwrap();
    let keys = [
        (Algorithm::HS256, secret()),
        (Algorithm::RS256, rsa()),
        (Algorithm::EdDSA, ed),
        (Algorithm::ES256, ec),
    ];
    for (algorithm, key) in keys {
        let grant = decide(&relay, &sign(&Header::new(algorithm), &claims(), &key));
        assert_eq!(grant.unwrap().user.as_deref(), Some("anna"), "{algorithm:?}");
    }
}

#[test]
fn what_is_wrong_with_a_token_has_its_reason() {
    use AuthFailReason::{
        Algorithm as Alg, Claims as Bad, Malformed, Missing, Signature, UnknownKey,
    };
    let hs = Header::default();
    let good = sign(&hs, &claims(), &secret());
    let parts: Vec<_> = good.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    // {"alg":"none"} and {"alg":"HS256","crit":["b64"],"typ":"JWT"}
    let none = "eyJhbGciOiJub25lIn0";
    let critical = Header { crit: Some(vec!["b64".into()]), ..hs.clone() };
    // A public key is no secret: whoever signs with it must not get in.
    let confused = EncodingKey::from_secret(PAIRS.rsa.public_key_pem().as_bytes());
    let confused_der = EncodingKey::from_secret(&PAIRS.rsa.subject_public_key_info());
    let (all, only_rsa) = (relay(false), relay(true));
    let cases = [
        (&all, String::new(), Missing),
        (&all, "nonsense".into(), Malformed),
        (&all, format!("{header}.{body}"), Malformed),
        (&all, format!("{good}.more"), Malformed),
        (&all, format!("{header}.{body}.!"), Malformed),
        (&all, format!("!{header}.{body}.{signature}"), Malformed),
        (&all, sign(&critical, &claims(), &secret()), Malformed),
        (&all, format!("{none}.{body}."), Alg),
        (&all, format!("{none}.{body}.{signature}"), Alg),
        (&all, sign(&Header::new(Algorithm::HS512), &claims(), &secret()), Alg),
        (&only_rsa, good.clone(), UnknownKey),
        (&only_rsa, sign(&hs, &claims(), &confused), UnknownKey),
        (&all, sign(&hs, &claims(), &confused), Signature),
        (&all, sign(&hs, &claims(), &confused_der), Signature),
        (&all, sign(&hs, &claims(), &EncodingKey::from_secret(b"other")), Signature),
        (&all, format!("{header}.{body}."), Signature),
        (&all, format!("{header}.{}.{signature}", &body[..body.len() - 4]), Signature),
        (&all, sign(&hs, &json!({"exp": "soon", "room": "lobby"}), &secret()), Bad),
        (&all, sign(&hs, &json!([1, 2]), &secret()), Bad),
    ];
    for (relay, token, reason) in cases {
        let refusal = decide(relay, &token).unwrap_err();
        assert_eq!(refusal.reason, reason, "{token}: {}", refusal.text);
        assert!(!refusal.text.contains(body), "the token is shown: {}", refusal.text);
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_not_tried() {
    let mut relay = relay(false);
    relay.rules.algorithms = vec![JwtAlgorithm::EdDSA];
    let refusal = decide(&relay, &sign(&Header::default(), &claims(), &secret())).unwrap_err();
    assert_eq!(refusal.reason, AuthFailReason::Algorithm);
    assert!(refusal.text.ends_with("EdDSA"), "{}", refusal.text);
}

proptest! {
    #[test]
    fn any_token_is_refused_and_none_panics(
        token in prop_oneof![".*", "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}"],
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        static RELAY: LazyLock<Jwt> = LazyLock::new(|| relay(false));
        prop_assert!(decide(&RELAY, &token).is_err());
        prop_assert!(decide(&RELAY, &String::from_utf8_lossy(&bytes)).is_err());
    }

    #[test]
    fn any_change_of_a_good_token_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        static RELAY: LazyLock<Jwt> = LazyLock::new(|| relay(false));
        let good = sign(&Header::default(), &claims(), &secret());
        // The last character has bits that count for nothing.
        let at = at.index(good.len() - 1);
        let mut changed = good.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != good);
        prop_assert!(decide(&RELAY, &changed).is_err());
    }
}
