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

use super::fitness::{self, Unfit};
use crate::config::{JwtAlgorithm, JwtSection};

/// Shortest HS256 secret, in bytes (RFC 7518 section 3.2).
const LEAST_SECRET: usize = 32;

/// Keys of a set that are looked at.
const MOST_KEYS: usize = 100;

/// Keys that one token is tried with, when it does not name one.
const MOST_TRIES: usize = 8;

/// Why a key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file is not there or not readable.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file that the error is about.
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
        /// The file that the error is about.
        path: PathBuf,
        /// Bytes of the secret in it.
        length: usize,
    },
    /// A key that everybody may have, which would let everybody make tokens.
    #[error(
        "{} holds a key of a pair, or a certificate, and no secret: who has the public one \
         could make tokens with it. A public key belongs in auth.jwt.public_key_files; a secret \
         is made with: openssl rand -hex 32",
        .0.display()
    )]
    NotSecret(PathBuf),
    /// A file that should not be here.
    #[error(
        "{} holds a private key; the relay needs the public one: openssl pkey -in KEY -pubout",
        .0.display()
    )]
    Private(PathBuf),
    /// Not a key of any kind that is known.
    #[error("{} is not a PEM file with an RSA, P-256 or Ed25519 public key", .0.display())]
    NotPublicKey(PathBuf),
    /// No signature could ever be good with it.
    #[error("the key in {} is of no use: {unfit}", path.display())]
    Unfit {
        /// The file that the error is about.
        path: PathBuf,
        /// Why the key cannot be used.
        unfit: Unfit,
    },
    /// The key's algorithm is not in `auth.jwt.algorithms`.
    #[error("the key in {} is for {}, which auth.jwt.algorithms does not have", path.display(), algorithm.name())]
    NotAllowed {
        /// The file that the error is about.
        path: PathBuf,
        /// What it would be for.
        algorithm: JwtAlgorithm,
    },
    /// A key set that is none.
    #[error(
        "{0} is not a JSON Web Key Set with a public key for one of auth.jwt.algorithms (RSA of \
         2048 to 8192 bits, P-256, Ed25519)"
    )]
    NotKeySet(String),
}

/// A key that tokens are verified with.
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
    /// section 5 wants it of unknown kinds and values out of range; secrets too, which
    /// have no place in such a set. `name` is for the error.
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
    if is_of_a_pair(&bytes) {
        return Err(KeyError::NotSecret(path.into()));
    }
    Ok(Key {
        id: id_of(secret),
        kid: None,
        algorithm: JwtAlgorithm::HS256,
        verifier: DecodingKey::from_secret(secret),
    })
}

/// Whether a file has a form that keys of pairs and certificates are kept in, whatever is
/// in it: PEM, OpenSSH, DER, JSON Web Key or a set of them. Random bytes look like DER once
/// in 16 million times.
fn is_of_a_pair(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let is_der = match *bytes {
        [0x30, 0x81, length, ref rest @ ..] => usize::from(length) == rest.len(),
        [0x30, 0x82, high, low, ref rest @ ..] => {
            usize::from(u16::from_be_bytes([high, low])) == rest.len()
        }
        [0x30, length @ ..=0x7f, ref rest @ ..] => usize::from(length) == rest.len(),
        _ => false,
    };
    is_der
        || text.contains("-----BEGIN ")
        || ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| text.starts_with(kind))
        || text.starts_with('{') && ["\"kty\"", "\"keys\""].iter().any(|key| text.contains(key))
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
    let (algorithm, verifier) = if let Ok(key) = DecodingKey::from_ed_pem(&pem) {
        (JwtAlgorithm::EdDSA, key)
    } else if let Ok(key) = DecodingKey::from_rsa_pem(&pem) {
        (JwtAlgorithm::RS256, key)
    } else if let Ok(key) = DecodingKey::from_ec_pem(&pem) {
        (JwtAlgorithm::ES256, key)
    } else {
        return Err(KeyError::NotPublicKey(path.into()));
    };
    fitness::check(algorithm, &verifier)
        .map_err(|unfit| KeyError::Unfit { path: path.into(), unfit })?;
    Ok(Key { id: id_of(text.trim().as_bytes()), kid: None, algorithm, verifier })
}

/// A key of a set, if it is for signatures, of a kind that is known, and sound.
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
    let verifier = DecodingKey::from_jwk(jwk).ok()?;
    fitness::check(algorithm, &verifier).ok()?;
    Some(Key { id, kid, algorithm, verifier })
}

/// What a key without a name is known by: tells keys apart and nothing about
/// them.
fn id_of(key: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"wzp-relay key id").chain_update(key).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RSA of 512 bits.
    const RSA_512: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANY+j/52csNe057zzUG3j6avX/zNZiRA\n\
        swCB+flC8kKPH7B/wHG/iw7qWkJJW6j4Vw6bsxOmaknv/0DaPiPO3bUCAwEAAQ==\n\
        -----END PUBLIC KEY-----\n";

    /// RSA of 1024 bits.
    const RSA_1024: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDLn4HL60oa2C/u3bl+8OwBCBbY\n\
        snWz1U9Qj7p543zZQhGROaCjjVn52zneg0sYle9z7cKGi5w0q1FnecXhid3Kn3iL\n\
        2M6ofph9n0lmmDR2zW8YbnQTcSK8B7xbnOsfFjPvOQjc3M50/3elw5ehUncSQB+X\n\
        Xli90s9Q6MwEBBDgTQIDAQAB\n\
        -----END PUBLIC KEY-----\n";

    /// On secp256k1, whose points have as many bytes as those of P-256.
    const SECP256K1: &str = "\
        -----BEGIN PUBLIC KEY-----\n\
        MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE3/8wy6J8ArYpwpOTAxFiWeM0dP3CPIgt\n\
        /vJpUFsdRZHNZj9FtApW+hoY/GIBxeOzsSSmcm0FXeYL0TPrCaXNEw==\n\
        -----END PUBLIC KEY-----\n";

    const OPENSSH: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA anna@example";

    const JWK: &str = r#"{"kty": "OKP", "crv": "Ed25519", "x": "AAAAAAAAAAAAAAAAAAAAAAAA"}"#;

    #[test]
    fn bytes_are_a_secret_unless_they_have_the_form_of_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let der = |head: &[u8], length| [head, &vec![7; length]].concat();
        for (bytes, is_secret) in [
            (der(&[0x30, 0x2a], 42), false),
            (der(&[0x30, 0x2a], 43), true),
            (der(&[0x30, 0x81, 0x9f], 0x9f), false),
            (der(&[0x30, 0x82, 0x01, 0x22], 0x122), false),
            (der(&[0x30, 0x82, 0x01, 0x22], 0x121), true),
            (der(&[0x31, 0x2a], 42), true),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(secret(&path).is_ok(), is_secret, "{:02x?}, {}", &bytes[..4], bytes.len());
        }
    }

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
        let (ec, ec_private) = pem(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (rsa, _) = pem(&rcgen::PKCS_RSA_SHA256);
        let (other_curve, _) = pem(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(load("k", &ed, false), Ok(JwtAlgorithm::EdDSA));
        assert_eq!(load("k", &ec, false), Ok(JwtAlgorithm::ES256));
        assert_eq!(load("k", &rsa, false), Ok(JwtAlgorithm::RS256));
        assert_eq!(load("k", &"s".repeat(32), true), Ok(JwtAlgorithm::HS256));
        let cases = [
            (&ed_private, false, "-pubout"),
            (&other_curve, false, "P-256"),
            (&SECP256K1.to_owned(), false, "P-256"),
            (&RSA_512.to_owned(), false, "2048 to 8192 bits"),
            (&RSA_1024.to_owned(), false, "2048 to 8192 bits"),
            (&"nonsense".to_owned(), false, "not a PEM file"),
            (&format!("{}\r\n", "s".repeat(31)), true, "31 bytes"),
            (&ed, true, "auth.jwt.public_key_files"),
            (&format!("\u{feff}\n{rsa}"), true, "auth.jwt.public_key_files"),
            (&ec_private, true, "auth.jwt.public_key_files"),
            (&OPENSSH.to_owned(), true, "auth.jwt.public_key_files"),
            (&format!("{{\"keys\": [{JWK}]}}"), true, "auth.jwt.public_key_files"),
            (&JWK.to_owned(), true, "auth.jwt.public_key_files"),
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
    fn a_key_of_a_set_with_which_no_signature_can_be_good_is_as_if_it_were_not_there() {
        let good = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        // An odd number of so many bytes, the first of which is 0xc3.
        let modulus = |bytes: usize| "w".repeat((bytes * 4).div_ceil(3));
        let rsa = |n: &str, e: &str| json!({"kty": "RSA", "kid": "bad", "n": n, "e": e});
        let ec =
            |x: &str, y: &str| json!({"kty": "EC", "crv": "P-256", "kid": "bad", "x": x, "y": y});
        let named = |kid, x: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x});
        let ed = |x| named("bad", x);
        let long = modulus(256);
        let bad = [
            rsa("", ""),
            rsa(&modulus(64), "AQAB"),
            rsa(&modulus(128), "AQAB"),
            rsa(&modulus(1025), "AQAB"),
            rsa(&long, ""),
            rsa(&long, "AQ"),
            rsa(&long, "Ag"),
            // Not as RFC 7518 section 2 wants numbers, and so refused with each signature.
            rsa(&format!("AAAA{long}"), "AQAB"),
            ec("", ""),
            ec("AA", "AA"),
            ec(good, good),
            ed(""),
            ed("AA"),
            ed(&good.repeat(4)),
        ];
        let all = JwtSection::default().algorithms;
        for key in bad {
            let alone = json!({ "keys": [key] }).to_string();
            let error = KeySet::from_jwks(alone.as_bytes(), "the.set", &all).unwrap_err();
            assert!(error.to_string().contains("the.set"), "{key}: {error}");
            let both = json!({ "keys": [key, named("good", good)] });
            let keys = KeySet::from_jwks(both.to_string().as_bytes(), "set", &all).unwrap();
            assert_eq!(keys.ids().into_iter().collect::<Vec<_>>(), ["good"], "{key}");
        }
        let sound = json!({ "keys": [rsa(&long, "AQAB")] }).to_string();
        assert!(KeySet::from_jwks(sound.as_bytes(), "set", &all).is_ok());
    }

    #[test]
    fn only_keys_for_signatures_are_taken_from_a_set() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let set = json!({"keys": [
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
