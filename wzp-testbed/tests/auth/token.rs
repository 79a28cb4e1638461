//! Keys and tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that are good, with these others put over them.
pub(crate) fn claims(others: Value) -> Value {
    let mut claims = json!({"exp": now() + 600, "room": "lobby", "aud": "relay"});
    for (name, value) in others.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A token signed with [`SECRET`].
pub(crate) fn token(others: Value) -> String {
    encode(&Header::default(), &claims(others), &EncodingKey::from_secret(SECRET.as_bytes()))
        .unwrap()
}

/// A key of its own, and what it signs.
pub(crate) struct Signer {
    pub(crate) public_pem: String,
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let of_certificates = match algorithm {
            Algorithm::RS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_ECDSA_P256_SHA256,
        };
        let pair = rcgen::KeyPair::generate_for(of_certificates).unwrap();
        let (pem, public_pem) = (pair.serialize_pem(), pair.public_key_pem());
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        Self { public_pem, key: key.unwrap(), algorithm }
    }

    pub(crate) fn token(&self, kid: Option<&str>) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        encode(&header, &claims(json!({})), &self.key).unwrap()
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(kid.into());
        serde_json::to_value(jwk).unwrap()
    }
}
