//! Who was let in, and how well that is decided.

use super::{Family, counter, gauge, histogram, single};
use crate::auth::breaker::BreakerState;
use crate::auth::stats::AuthStats;
use wzp_sfu::count::reason::{AuthFailReason, Reason};

pub(super) const FAMILIES: &[Family] = &[
    counter("wzp_relay_auth_attempts_total", "Auth validation attempts", |scrape| {
        let auth = &scrape.sources.auth;
        let failed: u64 = failures(auth).map(|(_, count)| count).sum();
        let series = |result: &str, count: u64| (vec![result.to_owned()], count as f64);
        vec![series("ok", auth.decisions.granted()), series("fail", failed)]
    }).from("authenticator, shards").note("Participants whose token was decided upon, `ok` or `fail`, each once: also where nothing was decided in time, which is `fail`; none without `[auth]`")
    .by(&["result"]),
    counter(
        "wzp_relay_auth_failures_total",
        "Participants who were not let in, by reason",
        |scrape| {
            let failures = failures(&scrape.sources.auth);
            failures.map(|(reason, count)| (vec![reason.name().to_owned()], count as f64)).collect()
        },
    ).from("authenticator, shards").note("The reasons are in [auth.md](auth.md#what-a-refusal-means)")
    .by(&["reason"]),
    histogram(
        "wzp_relay_auth_duration_seconds",
        "From a participant's Hello to the decision about its token",
        |scrape| vec![(Vec::new(), scrape.sources.auth.decisions.duration.reading())],
    ).from("authenticator, shards").note("Or for as long as the relay has waited for one; none without `[auth]`"),
    gauge(
        "wzp_relay_auth_breaker_state",
        "1 for the state of the breaker of the service at auth.webhook.url: closed (it is asked), open (it is left alone) or half_open (a few requests try it)",
        |scrape| {
            let now = scrape.sources.auth.breaker();
            let is = |state| f64::from(u8::from(state == now));
            BreakerState::ALL.map(|state| (vec![state.name().to_owned()], is(state))).into()
        },
    ).from("authenticator")
    .by(&["state"]),
    counter(
        "wzp_relay_auth_jwks_fetches_total",
        "Times the key set of auth.jwt.jwks_url came (ok) or did not (fail)",
        |scrape| {
            let (ok, fail) = scrape.sources.auth.jwks_fetches();
            vec![(vec!["ok".to_owned()], ok as f64), (vec!["fail".to_owned()], fail as f64)]
        },
    ).from("authenticator")
    .by(&["result"]),
    gauge(
        "wzp_relay_auth_jwks_last_success_timestamp_seconds",
        "When the key set of auth.jwt.jwks_url last came, in seconds since 1970; absent until it has",
        |scrape| {
            let at = scrape.sources.auth.jwks_last_success();
            at.map_or_else(Vec::new, |at| single(at as f64))
        },
    ).from("authenticator"),
];

fn failures(auth: &AuthStats) -> impl Iterator<Item = (AuthFailReason, u64)> {
    AuthFailReason::ALL.iter().map(|reason| (*reason, auth.decisions.failures(*reason)))
}
