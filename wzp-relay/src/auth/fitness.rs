//! Whether a public key can verify anything. What reads keys takes all that looks like
//! one, and finds out when there is a signature: each token would be refused then, as
//! if that were the token's fault.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKey, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use thiserror::Error;

use crate::config::JwtAlgorithm;

/// Bytes of a point on P-256 that is not compressed. Of one that is nobody could tell
/// for which curve it was meant.
const P256_POINT: usize = 65;

/// Why a key verifies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// Too short to be safe (RFC 7518 section 3.3), too long, or no such key at all.
    #[error("RS256 takes RSA of 2048 to 8192 bits: openssl genpkey -algorithm RSA")]
    Rsa,
    /// On another curve, or on none.
    #[error(
        "ES256 takes a point on P-256, not compressed: openssl genpkey -algorithm EC -pkeyopt \
         ec_paramgen_curve:P-256"
    )]
    P256,
    /// Not of that length.
    #[error("EdDSA takes an Ed25519 key of 32 bytes: openssl genpkey -algorithm ed25519")]
    Ed25519,
}

/// Asks the library that verifies.
///
/// # Errors
/// No signature could ever be good with the key.
pub(super) fn check(algorithm: JwtAlgorithm, key: &DecodingKey) -> Result<(), Unfit> {
    let bytes = || key.try_get_as_bytes().ok();
    let (fit, unfit) = match algorithm {
        JwtAlgorithm::HS256 => return Ok(()),
        JwtAlgorithm::RS256 => (rsa(key).is_some(), Unfit::Rsa),
        JwtAlgorithm::ES256 => {
            let point = bytes().filter(|point| point.len() == P256_POINT);
            let on_curve = |point| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok();
            (point.is_some_and(on_curve), Unfit::P256)
        }
        JwtAlgorithm::EdDSA => {
            let is_key = |key| ParsedPublicKey::new(&ED25519, key).is_ok();
            (bytes().is_some_and(is_key), Unfit::Ed25519)
        }
    };
    if fit { Ok(()) } else { Err(unfit) }
}

/// The key as it is wanted for encryption, which alone has its length checked.
fn rsa(key: &DecodingKey) -> Option<PublicEncryptingKey> {
    let x509 = match key.kind() {
        DecodingKeyKind::SecretOrDer(der) => PublicKey::from_der(der).ok()?.as_der(),
        DecodingKeyKind::RsaModulusExponent { n, e } => PublicKeyComponents { n, e }.as_der(),
    };
    PublicEncryptingKey::from_der(x509.ok()?.as_ref()).ok()
}
