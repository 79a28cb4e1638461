//! Basic authentication (RFC 7617) against bcrypt hashes.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

/// Most credentials that are remembered as right. Programs that scrape are
/// few; who has more users pays with bcrypt now and then.
const REMEMBERED: usize = 256;

/// Users and the hashes of their passwords.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// Digests of credentials that were right: bcrypt is slow on purpose, and
    /// a scrape comes every few seconds.
    right: Mutex<HashSet<[u8; 32]>>,
    /// Held while bcrypt works: strangers get one core of it at most.
    turn: tokio::sync::Mutex<()>,
}

impl Users {
    /// By name.
    ///
    /// # Errors
    /// The first user whose hash is none of bcrypt's.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        match hashes.iter().find(|(_, hash)| HashParts::from_str(hash).is_err()) {
            Some((user, _)) => Err(user.clone()),
            None => {
                Ok(Self { hashes, right: Mutex::default(), turn: tokio::sync::Mutex::default() })
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the value of an Authorization header is of a user. Without
    /// users everybody is one. An unknown name takes as long as a wrong password.
    pub(super) async fn admit(&self, authorization: Option<&str>) -> bool {
        // Any user's hash does for a stranger.
        let Some((_, any)) = self.hashes.first_key_value() else { return true };
        let Some((name, password)) = authorization.and_then(credentials) else { return false };
        let own = self.hashes.get(&name);
        let hash = own.unwrap_or(any).clone();
        let digest = digest(&name, &password, &hash);
        if self.right().contains(&digest) {
            return true;
        }
        let turn = self.turn.lock().await;
        let verified = spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        let verified = verified.await.unwrap_or(false);
        drop(turn);
        let admitted = verified && own.is_some();
        if admitted {
            let mut right = self.right();
            if right.len() >= REMEMBERED {
                right.clear();
            }
            right.insert(digest);
        }
        admitted
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lengths first, so that no other name and password give the same.
fn digest(name: &str, password: &str, hash: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [name, password, hash] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cheapest bcrypt.
    const COST: u32 = 4;

    fn users() -> Users {
        let hash = |password| bcrypt::hash(password, COST).unwrap();
        let users = [("anna", hash("a:b")), ("boris", hash("secret"))];
        Users::new(users.map(|(name, hash)| (name.to_owned(), hash)).into()).unwrap()
    }

    #[tokio::test]
    async fn only_users_with_their_own_password_are_admitted() {
        let users = users();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let cases = [
            (Some(basic("anna:a:b")), true),
            (Some(basic("anna:a:b")), true),
            (Some(basic("boris:secret").replace("Basic", "bAsIc")), true),
            (Some(basic("anna:secret")), false),
            // The hash that strangers are measured by is anna's.
            (Some(basic("stranger:a:b")), false),
            (Some(basic("anna")), false),
            (Some(basic("")), false),
            (Some("Basic ???".into()), false),
            (Some("Bearer abc".into()), false),
            (Some("Basic".into()), false),
            (None, false),
        ];
        for (header, admitted) in cases {
            assert_eq!(users.admit(header.as_deref()).await, admitted, "{header:?}");
        }
        assert_eq!(users.right().len(), 2, "only what was right is remembered");
    }

    #[tokio::test]
    async fn without_users_everybody_is_admitted() {
        assert!(Users::new(BTreeMap::new()).unwrap().admit(None).await);
    }

    #[test]
    fn hashes_of_htpasswd_are_taken_and_others_are_not() {
        let hash = bcrypt::hash("x", COST).unwrap();
        let cases = [
            (hash.clone(), true),
            (hash.replacen("$2b$", "$2y$", 1), true),
            (hash.replacen("$2b$", "$2a$", 1), true),
            ("secret".into(), false),
            ("$apr1$abcdefgh$0123456789012345678901".into(), false),
            (String::new(), false),
        ];
        for (hash, taken) in cases {
            let users = Users::new([("anna".to_owned(), hash.clone())].into());
            assert_eq!(users.is_ok(), taken, "{hash}");
        }
    }
}
