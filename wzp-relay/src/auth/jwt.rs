//! The relay decides by a token's signature and claims (RFC 7519). What is
//! cheap is checked first: shape, algorithm and key before the signature.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use tokio::time::timeout;

use super::claims::{Claims, KINDS};
use super::jwks::{Jwks, UNKNOWN_KEY_INTERVAL};
use super::keys::KeySet;
use super::source::Source;
use crate::config::{JwtAlgorithm, JwtSection};
use wzp_sfu::access::Now;
use wzp_sfu::access::{AuthRequest, Grant, Refusal};
use wzp_sfu::count::reason::AuthFailReason;

/// Keys and rules.
#[derive(Debug)]
pub(super) struct Jwt {
    rules: JwtSection,
    keys: KeySet,
    pub(super) jwks: Option<Jwks>,
}

impl Jwt {
    pub(super) fn new(rules: JwtSection, keys: KeySet, jwks: Option<Jwks>) -> Self {
        Self { rules, keys, jwks }
    }

    /// What all keys are known by.
    pub(super) fn key_ids(&self) -> BTreeSet<String> {
        let mut ids = self.keys.ids();
        ids.extend(self.jwks.iter().flat_map(|jwks| jwks.keys().ids()));
        ids
    }

    pub(super) async fn decide(&self, request: &AuthRequest) -> Result<Grant, Refusal> {
        let token = request.token.reveal();
        let (algorithm, kid) = self.header(token)?;
        let kid = kid.as_deref();
        let claims = match self.verify(token, algorithm, kid) {
            // Maybe its key is new.
            Err(refusal) if is_about_key(&refusal) => {
                self.wait_for_key(Source::of(request.ip), kid, refusal).await?;
                self.verify(token, algorithm, kid)?
            }
            verified => verified?,
        };
        claims.grant(&request.room, &self.rules, Now::read())
    }

    /// Has the key set fetched, if it may have a key that is not known here.
    async fn wait_for_key(
        &self,
        source: Source,
        kid: Option<&str>,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        let is_known = |keys: &KeySet| kid.is_some_and(|kid| keys.has_named(kid));
        let Some(jwks) = &self.jwks else { return Err(refusal) };
        if is_known(&self.keys) || is_known(&jwks.keys()) {
            return Err(refusal);
        }
        let patience = waits_for_keys(&self.rules);
        let in_time = timeout(patience, jwks.look_for(source, is_known)).await;
        if in_time.is_err() || jwks.is_failing() {
            let text = "the keys that tokens are checked with cannot be fetched now; try again in some seconds";
            return Err(Refusal::new(AuthFailReason::Unavailable, text));
        }
        Ok(())
    }

    /// Algorithm and key id, without any look at a key.
    fn header(&self, token: &str) -> Result<(JwtAlgorithm, Option<String>), Refusal> {
        let refuse = |reason, text: &str| Err(Refusal::new(reason, text));
        if token.is_empty() {
            let text = "this relay lets nobody in without a token, and Hello has none";
            return refuse(AuthFailReason::Missing, text);
        }
        let header = match decode_header(token) {
            Ok(header) => header,
            Err(error) => match error.kind() {
                // JSON, but not as it should be: `alg` is missing or unheard of.
                ErrorKind::Json(error) if error.is_data() => return self.wrong_algorithm(),
                _ => return malformed(),
            },
        };
        if header.crit.is_some() {
            let text =
                "the token's header demands extensions (`crit`) that this relay does not have";
            return refuse(AuthFailReason::Malformed, text);
        }
        let Header { alg, kid, .. } = header;
        let allowed = self.rules.algorithms.iter().find(|algorithm| alg == (**algorithm).into());
        allowed.map_or_else(|| self.wrong_algorithm(), |algorithm| Ok((*algorithm, kid)))
    }

    fn wrong_algorithm<T>(&self) -> Result<T, Refusal> {
        let names: Vec<_> = self.rules.algorithms.iter().map(|one| one.name()).collect();
        let text = format!("the token's algorithm (`alg`) must be one of {}", names.join(", "));
        Err(Refusal::new(AuthFailReason::Algorithm, text))
    }

    /// The claims, if a key that fits has signed them.
    fn verify(
        &self,
        token: &str,
        algorithm: JwtAlgorithm,
        kid: Option<&str>,
    ) -> Result<Claims, Refusal> {
        let fetched = self.jwks.as_ref().map(Jwks::keys);
        let fetched = fetched.iter().flat_map(|keys| keys.candidates(algorithm, kid));
        let mut refusal = Refusal::new(
            AuthFailReason::UnknownKey,
            "this relay has no key for the token's algorithm and key id (`alg`, `kid`)",
        );
        for key in self.keys.candidates(algorithm, kid).chain(fetched) {
            match decode(token, &key.verifier, &signature_alone(key.algorithm.into())) {
                Ok(data) => return Ok(data.claims),
                Err(error) => match error.into_kind() {
                    // Said only of a signature that is good.
                    ErrorKind::Json(_) => {
                        return Err(Refusal::new(AuthFailReason::Claims, KINDS));
                    }
                    ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                        return malformed();
                    }
                    _ => {
                        refusal = Refusal::new(
                            AuthFailReason::Signature,
                            "the token's signature is not made with a key that this relay accepts",
                        );
                    }
                },
            }
        }
        Err(refusal)
    }
}

/// How long a decision takes at most: until the set may be fetched, and that.
pub(super) fn waits_for_keys(rules: &JwtSection) -> Duration {
    rules.jwks_timeout.saturating_add(UNKNOWN_KEY_INTERVAL)
}

/// Whether another key could make the token good.
fn is_about_key(refusal: &Refusal) -> bool {
    matches!(refusal.reason, AuthFailReason::UnknownKey | AuthFailReason::Signature)
}

fn malformed<T>() -> Result<T, Refusal> {
    let text = "the token is not a JSON Web Token: three parts in base64url, joined by dots";
    Err(Refusal::new(AuthFailReason::Malformed, text))
}

/// The claims are checked by [`Claims`], which has a sentence for each.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests;
