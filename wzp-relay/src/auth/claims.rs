//! What a token says, and what follows from it.

use std::time::Duration;

use serde::Deserialize;

use super::time::Seconds;
use crate::config::JwtSection;
use wzp_sfu::access::{Expiry, Now};
use wzp_sfu::access::{Grant, Refusal};
use wzp_sfu::count::reason::AuthFailReason;

/// Longest `sub`, in bytes: it goes into the log.
const MAX_USER_BYTES: usize = 256;

/// The claim value that stands for every room.
const EVERY_ROOM: &str = "*";

/// What each claim must be, for whoever made a token of other kinds.
pub(super) const KINDS: &str = "the token's claims are not as they should be: `exp` and `nbf` are \
    seconds since 1970, `room` and `aud` a text or a list of texts, `iss` and `sub` texts, \
    `publish` and `listen` true or false";

/// The claims that count here; others are ignored, `iat` among them.
#[derive(Debug, Deserialize)]
pub struct Claims {
    exp: Option<Seconds>,
    nbf: Option<Seconds>,
    aud: Option<OneOrMore>,
    iss: Option<String>,
    sub: Option<String>,
    room: Option<OneOrMore>,
    publish: Option<bool>,
    listen: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl Claims {
    /// What the claims allow for that room now.
    ///
    /// # Errors
    /// The first of them that does not allow it.
    pub fn grant(self, room: &str, rules: &JwtSection, now: Now) -> Result<Grant, Refusal> {
        let expires = self.check_time(rules.leeway, now)?;
        self.check_origin(rules)?;
        self.check_room(room)?;
        if self.sub.as_ref().is_some_and(|sub| sub.len() > MAX_USER_BYTES) {
            return claims(format!("the token's `sub` is longer than {MAX_USER_BYTES} bytes"));
        }
        Ok(Grant {
            publish: self.publish.unwrap_or(true),
            listen: self.listen.unwrap_or(true),
            expires: Some(expires),
            user: self.sub.map(Into::into),
        })
    }

    /// When the session ends.
    fn check_time(&self, leeway: Duration, now: Now) -> Result<Expiry, Refusal> {
        let Some(exp) = self.exp.map(Seconds::duration) else {
            return claims("the token has no `exp`, the time it ends, in seconds since 1970");
        };
        let nbf = self.nbf.map(Seconds::duration).unwrap_or_default();
        let wall = now.since_1970();
        let left = exp.saturating_add(leeway).saturating_sub(wall);
        if left.is_zero() {
            let ago = Duration::from_secs(wall.saturating_sub(exp).as_secs());
            let text = format!("the token expired {ago:?} ago; get a new one");
            return Err(Refusal::new(AuthFailReason::Expired, text));
        }
        if nbf > wall.saturating_add(leeway) {
            let wait = Duration::from_secs(nbf.saturating_sub(wall).as_secs());
            let text = format!("the token is not valid yet, but in {wait:?} (`nbf`)");
            return Err(Refusal::new(AuthFailReason::NotYetValid, text));
        }
        Ok(Expiry::at(now, left))
    }

    fn check_origin(&self, rules: &JwtSection) -> Result<(), Refusal> {
        let audience = self.aud.as_ref().map(OneOrMore::as_slice);
        // RFC 7519 section 4.1.3: who is not named must refuse it.
        let is_for_here = match audience {
            Some(named) => named.iter().any(|name| rules.audience.contains(name)),
            None => rules.audience.is_empty(),
        };
        if !is_for_here {
            return Err(Refusal::new(
                AuthFailReason::Audience,
                match audience {
                    Some(_) => "the token's `aud` does not name this relay (auth.jwt.audience)",
                    None => {
                        "the token has no `aud`, which must name this relay (auth.jwt.audience)"
                    }
                },
            ));
        }
        if !rules.issuer.is_empty()
            && !self.iss.as_ref().is_some_and(|issuer| rules.issuer.contains(issuer))
        {
            let text =
                "the token's `iss` is none that this relay takes tokens of (auth.jwt.issuer)";
            return Err(Refusal::new(AuthFailReason::Issuer, text));
        }
        Ok(())
    }

    fn check_room(&self, room: &str) -> Result<(), Refusal> {
        let Some(rooms) = &self.room else {
            return claims("the token has no `room`: a name, a list of names, or \"*\" for all");
        };
        if rooms.as_slice().iter().any(|name| name == room || name == EVERY_ROOM) {
            return Ok(());
        }
        let text = "the token is for another room: its `room` claim does not name this one";
        Err(Refusal::new(AuthFailReason::Room, text))
    }
}

fn claims<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(AuthFailReason::Claims, text))
}

#[cfg(test)]
mod tests {
    use super::AuthFailReason::{
        Audience, Claims as BadClaims, Expired, Issuer, NotYetValid, Room,
    };
    use super::*;
    use std::time::{Instant, UNIX_EPOCH};
    use wzp_sfu::access::HORIZON;

    const NOW: u64 = 1_800_000_000;

    fn now() -> Now {
        Now { steady: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(NOW) }
    }

    fn grant(claims: &str, rules: &JwtSection) -> Result<Grant, AuthFailReason> {
        let claims: Claims = serde_json::from_str(claims).map_err(|_| BadClaims)?;
        claims.grant("lobby", rules, now()).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn each_claim_that_is_wrong_has_its_reason() {
        let open = JwtSection { leeway: Duration::from_secs(30), ..JwtSection::default() };
        let strict = JwtSection {
            audience: vec!["relay".into(), "other".into()],
            issuer: vec!["shop".into()],
            ..open.clone()
        };
        let (later, room) = (NOW + 100, r#""room":"lobby""#);
        let cases = [
            (&open, format!(r#"{{"exp":{later},{room}}}"#), Ok(())),
            (&open, format!(r#"{{"exp":{}.5,{room}}}"#, NOW - 29), Ok(())),
            (&open, format!(r#"{{"exp":{},{room}}}"#, NOW - 30), Err(Expired)),
            (&open, format!(r#"{{"exp":0,{room}}}"#), Err(Expired)),
            (&open, format!(r#"{{{room}}}"#), Err(BadClaims)),
            (&open, format!(r#"{{"exp":-1,{room}}}"#), Err(BadClaims)),
            (&open, format!(r#"{{"exp":1e300,{room}}}"#), Ok(())),
            (&open, format!(r#"{{"exp":"{later}",{room}}}"#), Err(BadClaims)),
            (&open, format!(r#"{{"exp":{later},"nbf":1e300,{room}}}"#), Err(NotYetValid)),
            (&open, format!(r#"{{"exp":{later},"nbf":-1,{room}}}"#), Err(BadClaims)),
            (
                &open,
                format!(r#"{{"exp":1e300,"nbf":9223372036854775807,{room}}}"#),
                Err(NotYetValid),
            ),
            (&open, format!(r#"{{"exp":{later},"iat":1e300,{room}}}"#), Ok(())),
            (&open, format!(r#"{{"exp":{later},"iat":"soon",{room}}}"#), Ok(())),
            (&open, format!(r#"{{"exp":{later},"nbf":{},{room}}}"#, NOW + 30), Ok(())),
            (&open, format!(r#"{{"exp":{later},"nbf":{},{room}}}"#, NOW + 31), Err(NotYetValid)),
            (&open, format!(r#"{{"exp":{later},"aud":"relay",{room}}}"#), Err(Audience)),
            (&strict, format!(r#"{{"exp":{later},{room}}}"#), Err(Audience)),
            (&strict, format!(r#"{{"exp":{later},"aud":"x","iss":"shop",{room}}}"#), Err(Audience)),
            (&strict, format!(r#"{{"exp":{later},"aud":"relay",{room}}}"#), Err(Issuer)),
            (&strict, format!(r#"{{"exp":{later},"aud":"relay","iss":"x",{room}}}"#), Err(Issuer)),
            (
                &strict,
                format!(r#"{{"exp":{later},"aud":["x","other"],"iss":"shop",{room}}}"#),
                Ok(()),
            ),
            (&open, format!(r#"{{"exp":{later}}}"#), Err(BadClaims)),
            (&open, format!(r#"{{"exp":{later},"room":"Lobby"}}"#), Err(Room)),
            (&open, format!(r#"{{"exp":{later},"room":[]}}"#), Err(Room)),
            (&open, format!(r#"{{"exp":{later},"room":["a","lobby"]}}"#), Ok(())),
            (&open, format!(r#"{{"exp":{later},"room":"*"}}"#), Ok(())),
            (
                &open,
                format!(r#"{{"exp":{later},{room},"sub":"{}"}}"#, "s".repeat(257)),
                Err(BadClaims),
            ),
        ];
        for (rules, claims, expected) in cases {
            assert_eq!(grant(&claims, rules).map(drop), expected, "{claims}");
        }
    }

    #[test]
    fn a_token_for_ever_ends_in_ten_years() {
        let rules = JwtSection::default();
        let left = |exp: &str| {
            let claims: Claims =
                serde_json::from_str(&format!(r#"{{"exp":{exp},"room":"*"}}"#)).unwrap();
            let now = now();
            let expires = claims.grant("any", &rules, now).unwrap().expires.unwrap();
            expires.time_of_day(now).unwrap().duration_since(now.wall).unwrap()
        };
        let cases = [
            ("9223372036854775807", HORIZON),
            ("18446744073709551615", HORIZON),
            ("1e18", HORIZON),
            ("1e300", HORIZON),
            ("2115360000.5", HORIZON),
            ("1800000000.5", rules.leeway + Duration::from_millis(500)),
        ];
        for (exp, expected) in cases {
            assert_eq!(left(exp), expected, "{exp}");
        }
    }

    #[test]
    fn claims_become_a_grant() {
        let rules = JwtSection::default();
        let claims: Claims = serde_json::from_str(&format!(
            r#"{{"exp":{},"room":"*","publish":false,"sub":"anna","more":[1]}}"#,
            NOW + 100
        ))
        .unwrap();
        let now = now();
        let expected = Grant {
            publish: false,
            listen: true,
            expires: Some(Expiry::at(now, Duration::from_secs(100) + rules.leeway)),
            user: Some("anna".into()),
        };
        assert_eq!(claims.grant("any", &rules, now), Ok(expected));
    }
}
