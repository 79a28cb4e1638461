//! Who may join, as tokens, services and key sets say it: whatever numbers are in
//! it, a session ends at a time that every clock can tell.

#![no_main]

use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use wzp_relay::auth::{Claims, KeySet, interpret};
use wzp_relay::config::JwtSection;
use wzp_sfu::access::{Grant, HORIZON, Now, Refusal};

// The first number is the relay's clock, the second the status of the answer; the
// text is claims, answer and key set.
fuzz_target!(|input: (u32, u16, &[u8])| {
    let (wall, status, text) = input;
    let wall = UNIX_EPOCH + Duration::from_secs(wall.into());
    let now = Now { steady: Instant::now(), wall };
    let rules = JwtSection::default();
    if let Ok(claims) = serde_json::from_slice::<Claims>(text) {
        check(&claims.grant("lobby", &rules, now), now);
    }
    if let Ok(status) = StatusCode::from_u16(status) {
        let mut response = Response::new(Bytes::copy_from_slice(text));
        *response.status_mut() = status;
        if let Ok(decision) = interpret(&response, now.steady) {
            check(&decision, now);
        }
    }
    if let Ok(keys) = KeySet::from_jwks(text, "input", &rules.algorithms) {
        assert!(!keys.ids().is_empty());
    }
});

fn check(decision: &Result<Grant, Refusal>, now: Now) {
    match decision {
        Ok(grant) => {
            if let Some(expires) = grant.expires {
                let ends = expires.time_of_day(now).unwrap();
                assert!(ends.duration_since(now.wall).is_ok_and(|left| left <= HORIZON));
                assert!(expires.next_look(now).is_some_and(|look| look - now.steady <= HORIZON));
                assert!(u64::try_from(ends.duration_since(UNIX_EPOCH).unwrap().as_millis()).is_ok());
            }
        }
        // It has to fit CONNECTION_CLOSE.
        Err(refusal) => assert!(refusal.text.len() < 1000),
    }
}
