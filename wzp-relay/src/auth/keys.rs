//! The keys that tokens are checked with. Each is for exactly one algorithm, so
//! that a public key can never pass for a secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse, ThumbprintHash};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wzp_untrusted::file;

use crate::config::{JwtAlgorithm, JwtSection};

/// Shortest HS256 secret, in bytes (RFC 7518 section 3.2).
const LEAST_SECRET: usize = 32;

/// Keys of a set that are looked at.
const MOST_KEYS: usize = 100;

/// Keys that one token is tried with, when it does not name one.
const MOST_TRIES: usize = 8;

/// Bytes of an uncompressed point on P-256.
const P256_POINT: usize = 65;

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file is not there or not readable.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A secret that can be guessed.
    #[error(
        "the secret in {} has {length} bytes; HS256 takes at least {LEAST_SECRET}: openssl rand -hex 32",
        path.display()
    )]
    ShortSecret {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// A file that should not be here.
    #[error(
        "{} holds a private key; the relay needs the public one: openssl pkey -in KEY -pubout",
        .0.display()
    )]
    Private(PathBuf),
    /// Not a key of any kind that is known.
    #[error("{} is not a PEM file with an RSA, P-256 or Ed25519 public key", .0.display())]
    NotPublicKey(PathBuf),
    /// The key's algorithm is not in `auth.jwt.algorithms`.
    #[error("the key in {} is for {}, which auth.jwt.algorithms does not have", path.display(), algorithm.name())]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// What it would be for.
        algorithm: JwtAlgorithm,
    },
    /// A key set that is none.
    #[error("{0} is not a JSON Web Key Set with a public key for one of auth.jwt.algorithms")]
    NotKeySet(String),
}

/// The keys before and after, by what they are known by: the `kid`, or a hash of a
/// key that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Those that tokens could be signed with.
    pub old: BTreeSet<String>,
    /// Those that they can be signed with now.
    pub new: BTreeSet<String>,
}

impl KeyChange {
    /// Whether it is one.
    pub fn is_any(&self) -> bool {
        self.old != self.new
    }

    /// Those that are new.
    pub fn added(&self) -> Vec<String> {
        self.new.difference(&self.old).cloned().collect()
    }

    /// Those that are gone.
    pub fn removed(&self) -> Vec<String> {
        self.old.difference(&self.new).cloned().collect()
    }
}

/// One key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// What people and the audit log know it by.
    id: String,
    /// What tokens name it by.
    kid: Option<String>,
    pub(super) algorithm: JwtAlgorithm,
    pub(super) verifier: DecodingKey,
}

/// Keys in the order they were given.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// All keys that are in files.
    pub(super) fn from_files(section: &JwtSection) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for path in &section.secret_files {
            keys.push(allowed(secret(path)?, section, path)?);
        }
        for path in &section.public_key_files {
            keys.push(allowed(public_key(path)?, section, path)?);
        }
        if let Some(path) = &section.jwks_file {
            let name = path.display().to_string();
            keys.extend(
                Self::from_jwks(&read(path, file::SETTINGS_BYTES)?, &name, &section.algorithms)?.0,
            );
        }
        Ok(Self(keys))
    }

    /// The keys of a set that are of use here. Others are skipped, as RFC 7517
    /// section 5 wants it; secrets too, which have no place in such a set. `name` is
    /// for the error.
    ///
    /// # Errors
    /// [`KeyError::NotKeySet`]
    pub fn from_jwks(
        json: &[u8],
        name: &str,
        algorithms: &[JwtAlgorithm],
    ) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let not_a_set = || KeyError::NotKeySet(name.to_owned());
        let set: Set = serde_json::from_slice(json).map_err(|_| not_a_set())?;
        let keys = set.keys.into_iter().take(MOST_KEYS);
        let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys = keys.filter_map(|key| of_set(&key));
        let keys: Vec<_> = keys.filter(|key| algorithms.contains(&key.algorithm)).collect();
        if keys.is_empty() { Err(not_a_set()) } else { Ok(Self(keys)) }
    }

    /// The keys that may have signed a token with this header: those of the key
    /// id it names, and those that have none of their own.
    pub(super) fn candidates(
        &self,
        algorithm: JwtAlgorithm,
        kid: Option<&str>,
    ) -> impl Iterator<Item = &Key> {
        let fits = move |key: &&Key| {
            let named = kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid;
            key.algorithm == algorithm && named
        };
        self.0.iter().filter(fits).take(MOST_TRIES)
    }

    pub(super) fn has_named(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the keys are known by.
    pub fn ids(&self) -> BTreeSet<String> {
        self.0.iter().map(|key| key.id.clone()).collect()
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, KeyError> {
    file::read(path, most).map_err(|reason| KeyError::Read { path: path.into(), reason })
}

fn allowed(key: Key, section: &JwtSection, path: &Path) -> Result<Key, KeyError> {
    if section.algorithms.contains(&key.algorithm) {
        return Ok(key);
    }
    Err(KeyError::NotAllowed { path: path.into(), algorithm: key.algorithm })
}

fn secret(path: &Path) -> Result<Key, KeyError> {
    let bytes = read(path, file::KEY_BYTES)?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < LEAST_SECRET {
        return Err(KeyError::ShortSecret { path: path.into(), length: secret.len() });
    }
    Ok(Key {
        id: id_of(secret),
        kid: None,
        algorithm: JwtAlgorithm::HS256,
        verifier: DecodingKey::from_secret(secret),
    })
}

fn public_key(path: &Path) -> Result<Key, KeyError> {
    let pem = read(path, file::KEY_BYTES)?;
    let text = String::from_utf8_lossy(&pem);
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private(path.into()));
    }
    // What makes keys of certificates takes the wrong part of them.
    if !text.contains("PUBLIC KEY-----") {
        return Err(KeyError::NotPublicKey(path.into()));
    }
    let on_p256 = |key: &DecodingKey| key.try_get_as_bytes().is_ok_and(|k| k.len() == P256_POINT);
    let (algorithm, verifier) = if let Ok(key) = DecodingKey::from_ed_pem(&pem) {
        (JwtAlgorithm::EdDSA, key)
    } else if let Ok(key) = DecodingKey::from_rsa_pem(&pem) {
        (JwtAlgorithm::RS256, key)
    } else if let Some(key) = DecodingKey::from_ec_pem(&pem).ok().filter(on_p256) {
        (JwtAlgorithm::ES256, key)
    } else {
        return Err(KeyError::NotPublicKey(path.into()));
    };
    Ok(Key { id: id_of(text.trim().as_bytes()), kid: None, algorithm, verifier })
}

/// A key of a set, if it is for signatures and of a kind that is known.
fn of_set(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => JwtAlgorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            JwtAlgorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            JwtAlgorithm::EdDSA
        }
        _ => return None,
    };
    let named = jwk.common.key_algorithm.map(|name| name.to_string());
    let is_for_signatures =
        jwk.common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature);
    if named.is_some_and(|name| name != algorithm.name()) || !is_for_signatures {
        return None;
    }
    let kid = jwk.common.key_id.clone();
    let id = kid.clone().or_else(|| jwk.thumbprint(ThumbprintHash::SHA256).ok())?;
    Some(Key { id, kid, algorithm, verifier: DecodingKey::from_jwk(jwk).ok()? })
}

/// What a key without a name is known by: tells keys apart and nothing about
/// them.
fn id_of(key: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"wzp-relay key id").chain_update(key).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        (key.public_key_pem(), key.serialize_pem())
    }

    fn load(name: &str, content: &str, is_secret: bool) -> Result<JwtAlgorithm, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut section = JwtSection::default();
        if is_secret { &mut section.secret_files } else { &mut section.public_key_files }
            .push(path);
        let keys = KeySet::from_files(&section).map_err(|error| error.to_string())?;
        Ok(keys.0[0].algorithm)
    }

    #[test]
    fn a_file_tells_what_its_key_is_for() {
        let (ed, ed_private) = pem(&rcgen::PKCS_ED25519);
        let (ec, _) = pem(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (rsa, _) = pem(&rcgen::PKCS_RSA_SHA256);
        let (other_curve, _) = pem(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(load("k", &ed, false), Ok(JwtAlgorithm::EdDSA));
        assert_eq!(load("k", &ec, false), Ok(JwtAlgorithm::ES256));
        assert_eq!(load("k", &rsa, false), Ok(JwtAlgorithm::RS256));
        assert_eq!(load("k", &"s".repeat(32), true), Ok(JwtAlgorithm::HS256));
        let cases = [
            (&ed_private, false, "-pubout"),
            (&other_curve, false, "P-256"),
            (&"nonsense".to_owned(), false, "not a PEM file"),
            (&format!("{}\r\n", "s".repeat(31)), true, "31 bytes"),
        ];
        for (content, is_secret, part) in cases {
            let error = load("some.key", content, is_secret).unwrap_err();
            assert!(error.contains(part) && error.contains("some.key"), "{error}");
        }
    }

    #[test]
    fn a_line_end_is_no_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let ids = ["", "\n", "\r\n"].map(|end| {
            let path = folder.path().join("secret");
            std::fs::write(&path, format!("{}{end}", "s".repeat(32))).unwrap();
            secret(&path).unwrap().id
        });
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[0], ids[2]);
    }

    #[test]
    fn only_keys_for_signatures_are_taken_from_a_set() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set = serde_json::json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "good", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "kid": "enc", "use": "enc", "x": x},
            {"kty": "OKP", "crv": "Ed25519", "kid": "alg", "alg": "RS256", "x": x},
            {"kty": "oct", "kid": "secret", "k": x},
            {"kty": "what", "kid": "unknown"},
            {"kty": "OKP", "crv": "Ed25519", "x": x},
            7
        ]});
        let all = JwtSection::default().algorithms;
        let keys = KeySet::from_jwks(set.to_string().as_bytes(), "set", &all).unwrap();
        assert_eq!(keys.0.len(), 2);
        assert!(keys.ids().contains("good"), "{:?}", keys.ids());
        let named = |kid| keys.candidates(JwtAlgorithm::EdDSA, kid).count();
        assert_eq!([named(Some("good")), named(Some("other")), named(None)], [2, 1, 2]);
        assert_eq!(keys.candidates(JwtAlgorithm::HS256, None).count(), 0);

        for bad in ["", "{}", "{\"keys\": []}", "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}"]
        {
            let error = KeySet::from_jwks(bad.as_bytes(), "the.set", &all).unwrap_err();
            assert!(error.to_string().contains("the.set"), "{error}");
        }
        let error = KeySet::from_jwks(set.to_string().as_bytes(), "s", &[JwtAlgorithm::HS256]);
        assert!(error.is_err(), "not allowed");
    }
}
