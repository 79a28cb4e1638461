//! Basic authentication (RFC 7617) against bcrypt hashes.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::lock::{Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use rustls::crypto::aws_lc_rs;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::logins::Logins;

/// Most credentials that are remembered as right. Programs that scrape are
/// few; who has more users pays with bcrypt now and then.
const REMEMBERED: usize = 256;

/// Costs that a hash may have. One check at the most takes a second or two of a core, and
/// whoever comes waits for the one under way and for his own, 9 seconds at most.
const COSTS: RangeInclusive<u32> = 4..=14;

/// Users and the hashes of their passwords.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// Makes what is remembered of no use elsewhere.
    salt: [u8; 32],
    /// Digests of credentials that were right: bcrypt is slow on purpose, and
    /// a scrape comes every few seconds. Whoever has them waits for nobody.
    right: Mutex<HashSet<[u8; 32]>>,
}

/// Whether somebody is a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Admitted,
    /// No user, an unknown one, or the wrong password.
    Refused,
    /// Its address has tried too often. It may again after this time.
    TooOften(Duration),
}

impl Users {
    /// By name.
    ///
    /// # Errors
    /// The first user whose hash cannot be used, and why, as a predicate.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self, (String, String)> {
        let problem = |hash| match HashParts::from_str(hash) {
            Err(_) => Some("is no bcrypt hash".to_owned()),
            Ok(parts) => unfit(parts.get_cost()),
        };
        match hashes.iter().find_map(|(user, hash)| Some((user.clone(), problem(hash)?))) {
            Some(found) => Err(found),
            None => Ok(Self { hashes, salt: salt(), right: Mutex::default() }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the value of an Authorization header that came from `address` is of a
    /// user. Without users everybody is one. An unknown name takes as long as a wrong
    /// password.
    pub(super) async fn admit(
        &self,
        authorization: Option<&str>,
        address: IpAddr,
        logins: &Logins,
    ) -> Login {
        // Any user's hash does for a stranger.
        let Some((_, any)) = self.hashes.first_key_value() else { return Login::Admitted };
        let Some((name, password)) = authorization.and_then(credentials) else {
            return Login::Refused;
        };
        let own = self.hashes.get(&name);
        let hash = own.unwrap_or(any).clone();
        let digest = self.digest(&name, &password, &hash);
        if self.right().contains(&digest) {
            return Login::Admitted;
        }
        let turn = match logins.turn(address).await {
            Ok(turn) => turn,
            Err(wait) => return Login::TooOften(wait),
        };
        // The next one's turn comes when bcrypt is done, not when the client is gone.
        let verified = spawn_blocking(move || {
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        if !verified.await.unwrap_or(false) || own.is_none() {
            return Login::Refused;
        }
        let mut right = self.right();
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(digest);
        Login::Admitted
    }

    fn right(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.right.lock()
    }

    /// Lengths first, so that no other name and password give the same.
    fn digest(&self, name: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.salt);
        for part in [name, password, hash] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// What is wrong with a cost: each step doubles the time of a check.
fn unfit(cost: u32) -> Option<String> {
    let (least, most) = (COSTS.start(), COSTS.end());
    (!COSTS.contains(&cost)).then(|| {
        format!("has the bcrypt cost {cost}, and {least} to {most} are taken: checks wait for each other")
    })
}

/// All zeros should the system have no random numbers, which only makes what is
/// remembered a plain digest.
fn salt() -> [u8; 32] {
    let mut salt = [0; 32];
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut salt);
    salt
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
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

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
        let logins = Logins::new(100);
        for (header, admitted) in cases {
            let expected = if admitted { Login::Admitted } else { Login::Refused };
            let login = users.admit(header.as_deref(), HERE, &logins).await;
            assert_eq!(login, expected, "{header:?}");
        }
        assert_eq!(users.right().len(), 2, "only what was right is remembered");
    }

    #[tokio::test]
    async fn who_guesses_has_to_wait_and_a_known_password_does_not() {
        let (users, logins) = (users(), Logins::new(2));
        let admit = async |name_and_password, address: [u8; 4]| {
            let header = format!("Basic {}", STANDARD.encode(name_and_password));
            users.admit(Some(&header), address.into(), &logins).await
        };
        assert_eq!(admit("boris:secret", [10, 0, 0, 1]).await, Login::Admitted);
        assert_eq!(admit("boris:guess", [10, 0, 0, 1]).await, Login::Refused);
        for name_and_password in ["boris:guess", "anna:a:b"] {
            let login = admit(name_and_password, [10, 0, 0, 1]).await;
            let Login::TooOften(wait) = login else { panic!("{login:?}") };
            assert!(wait <= Duration::from_secs(30), "{wait:?}");
        }
        assert_eq!(admit("boris:secret", [10, 0, 0, 1]).await, Login::Admitted);
        assert_eq!(admit("anna:a:b", [10, 0, 0, 2]).await, Login::Admitted);
    }

    #[tokio::test]
    async fn without_users_everybody_is_admitted() {
        let nobody = Users::new(BTreeMap::new()).unwrap();
        assert_eq!(nobody.admit(None, HERE, &Logins::new(1)).await, Login::Admitted);
    }

    #[test]
    fn hashes_of_htpasswd_are_taken_and_others_are_not() {
        let hash = bcrypt::hash("x", COST).unwrap();
        let cases = [
            (hash.clone(), true),
            (hash.replacen("$2b$", "$2y$", 1), true),
            (hash.replacen("$2b$", "$2a$", 1), true),
            (hash.replacen("$04$", "$14$", 1), true),
            (hash.replacen("$04$", "$15$", 1), false),
            (hash.replacen("$04$", "$31$", 1), false),
            (hash.replacen("$04$", "$03$", 1), false),
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
