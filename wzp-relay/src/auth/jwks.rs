//! A key set that a server publishes (RFC 7517), kept fresh.
//!
//! One task fetches it, and nothing waits for a fetch but whoever has a token with
//! a key that is not known. Strangers make up such tokens, so a source has the set
//! fetched at most every [`SOURCE_INTERVAL`], and all together at most every
//! [`UNKNOWN_KEY_INTERVAL`]: a real new key is known after that time, whoever asked
//! for others just before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CACHE_CONTROL};
use hyper::{HeaderMap, Request, StatusCode};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use wzp_telemetry::audit::Audit;
use wzp_telemetry::lock::{Mutex, MutexGuard};
use wzp_telemetry::log::target;
use wzp_telemetry::panics::supervised;
use wzp_transport::trust::TrustError;

use super::http::HttpClient;
use super::keys::KeySet;
use super::source::Source as Asker;
use super::stats::AuthStats;
use crate::audit;
use crate::audit::KeyChange;
use crate::config::{JwtSection, Url};
use wzp_sfu::access::after;

/// Longest key set, in bytes: a hundred RSA keys.
const MAX_BYTES: usize = 128 * 1024;

/// At most so often is the set fetched because of a key that is not known.
pub(super) const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(1);

/// At most so often because of the same source.
const SOURCE_INTERVAL: Duration = Duration::from_secs(10);

/// How soon a set that could not be fetched is tried again, and the least that
/// a server can make the relay wait.
const RETRY: Duration = Duration::from_secs(10);

/// The most that a server can make the relay wait.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A set and what keeps it fresh, which ends with it.
#[derive(Debug)]
pub(super) struct Jwks {
    source: Arc<Source>,
    refreshing: AbortHandle,
}

#[derive(Debug)]
struct Source {
    url: Url,
    rules: JwtSection,
    client: HttpClient,
    keys: ArcSwap<KeySet>,
    failing: AtomicBool,
    wishes: Mutex<Wishes>,
    /// Told when there is a wish.
    wished: Notify,
    /// The number of the last fetch that is over.
    fetched: watch::Sender<u64>,
    stats: Arc<AuthStats>,
    audit: Audit,
}

/// What is wanted of the task that fetches.
#[derive(Debug)]
struct Wishes {
    /// Whether the next fetch is waited for.
    pending: bool,
    /// The number of the last fetch that has begun.
    begun: u64,
    /// Whether it is not over.
    is_fetching: bool,
    /// Who had a set fetched within [`SOURCE_INTERVAL`]: as many as there can be
    /// fetches in that time, and one that is pending.
    askers: VecDeque<(Instant, Asker)>,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    /// That fetch, which begins from now on.
    Next(u64),
    /// That fetch, which began before: the set may be older than the key.
    Begun(u64),
}

impl Default for Wishes {
    /// Before the first fetch, which comes in any case.
    fn default() -> Self {
        Self { pending: true, begun: 0, is_fetching: false, askers: VecDeque::new() }
    }
}

impl Wishes {
    /// What there is to wait for; has the set fetched if nothing is and the source
    /// may.
    fn wish(&mut self, asker: Asker, now: Instant) -> Option<Coming> {
        self.askers.retain(|(at, _)| now.duration_since(*at) < SOURCE_INTERVAL);
        if self.is_fetching && !self.pending {
            return Some(Coming::Begun(self.begun));
        }
        if !self.pending {
            if self.askers.iter().any(|(_, other)| *other == asker) {
                return None;
            }
            self.askers.push_back((now, asker));
            self.pending = true;
        }
        Some(Coming::Next(self.begun.saturating_add(1)))
    }

    fn begin(&mut self) {
        self.begun = self.begun.saturating_add(1);
        (self.pending, self.is_fetching) = (false, true);
    }
}

impl Jwks {
    /// Begins to fetch the set; until it comes there is what there was.
    pub(super) fn start(
        url: &Url,
        rules: &JwtSection,
        keys: Arc<KeySet>,
        stats: Arc<AuthStats>,
        audit: Audit,
    ) -> Result<Self, TrustError> {
        let source = Arc::new(Source {
            url: url.clone(),
            rules: rules.clone(),
            client: Self::client(url)?,
            keys: ArcSwap::new(keys),
            failing: AtomicBool::new(false),
            wishes: Mutex::default(),
            wished: Notify::new(),
            fetched: watch::Sender::new(0),
            stats,
            audit,
        });
        let refreshed = source.clone();
        let refreshing = async move { supervised(|| refreshed.clone().keep_fresh()).await };
        let refreshing = tokio::spawn(refreshing).abort_handle();
        Ok(Self { source, refreshing })
    }

    /// Who fetches from there.
    pub(super) fn client(url: &Url) -> Result<HttpClient, TrustError> {
        HttpClient::new(url.uri(), MAX_BYTES)
    }

    /// The keys as last fetched.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.source.keys.load_full()
    }

    /// Where they come from.
    pub(super) fn url(&self) -> &Url {
        &self.source.url
    }

    /// Whether the last try to fetch them failed, or they never came.
    pub(super) fn is_failing(&self) -> bool {
        self.source.failing.load(Ordering::Relaxed) || self.keys().is_empty()
    }

    /// Waits for a set that has a key which is not known yet, for as long as one may
    /// come. A source that has had the set fetched a moment ago only waits for fetches
    /// that others have brought about.
    pub(super) async fn look_for(&self, asker: Asker, is_known: impl Fn(&KeySet) -> bool) {
        let mut fetched = self.source.fetched.subscribe();
        loop {
            let Some(coming) = self.source.wishes().wish(asker, Instant::now()) else { return };
            self.source.wished.notify_one();
            let (Coming::Next(number) | Coming::Begun(number)) = coming;
            // Fails when nobody fetches any more, which nobody can wait for.
            let over = fetched.wait_for(|last| *last >= number || is_known(&self.keys())).await;
            if over.is_err() || matches!(coming, Coming::Next(_)) || is_known(&self.keys()) {
                return;
            }
        }
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

impl Source {
    async fn keep_fresh(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            self.wishes().begin();
            let pause = self.fetch().await;
            let number = {
                let mut wishes = self.wishes();
                wishes.is_fetching = false;
                wishes.begun
            };
            self.fetched.send_replace(number);
            tokio::select! {
                () = sleep_until(later(Instant::now(), pause)) => {}
                () = self.wish() => sleep_until(later(began, UNKNOWN_KEY_INTERVAL)).await,
            }
        }
    }

    /// Until the next fetch is waited for.
    async fn wish(&self) {
        while !self.wishes().pending {
            self.wished.notified().await;
        }
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        // Every change leaves them whole, so a panic elsewhere is no harm.
        self.wishes.lock()
    }

    /// Fetches the set; when to do so again.
    async fn fetch(&self) -> Duration {
        let before = self.keys.load_full();
        let fetched = fetch(&self.client, &self.url, &self.rules).await;
        self.stats.count_fetch(fetched.is_ok());
        let was_failing = self.failing.swap(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok((keys, pause)) => {
                let change = KeyChange { old: before.ids(), new: keys.ids() };
                self.keys.store(Arc::new(keys));
                if change.is_any() {
                    info!(target: target::AUTH, url = %self.url, keys = ?change.new, "signing keys changed");
                    audit::fetched_keys(&self.audit, &change);
                }
                if was_failing {
                    info!(target: target::AUTH, url = %self.url, "signing keys can be fetched again");
                }
                pause
            }
            Err(reason) => {
                if !was_failing {
                    warn!(target: target::AUTH, url = %self.url, reason, kept = before.ids().len(),
                          "signing keys cannot be fetched; the old ones are kept");
                }
                RETRY
            }
        }
    }
}

/// Fetches the set of that URL; and when to do so again.
///
/// # Errors
/// Why there is none, in words that have nothing of the answer.
pub(super) async fn fetch(
    client: &HttpClient,
    url: &Url,
    rules: &JwtSection,
) -> Result<(KeySet, Duration), String> {
    let request = Request::get(url.uri().clone()).header(ACCEPT, "application/json");
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(|_| "no request can be made for the URL".to_owned())?;
    let deadline = later(Instant::now(), rules.jwks_timeout);
    let response = client.send(request, deadline).await;
    let response = response.map_err(|error| error.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!("the server answered {}", response.status()));
    }
    let pause = max_age(response.headers()).unwrap_or(rules.jwks_refresh);
    let keys = KeySet::from_jwks(response.body(), "the answer", &rules.algorithms);
    Ok((keys.map_err(|error| error.to_string())?, pause.clamp(RETRY, LONGEST)))
}

/// The same instant on the clock of timers.
fn later(now: Instant, time: Duration) -> Instant {
    after(now.into_std(), time).into()
}

/// For how long an answer counts (RFC 9111 section 5.2.2.1); a number that is too
/// large for this program is the largest (section 1.2.2).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = directives.split(',').find_map(|one| one.trim().strip_prefix("max-age="))?;
    let seconds = seconds.trim_matches('"');
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| seconds.parse().map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(number: u32) -> Asker {
        Asker::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_source_has_the_set_fetched_once_in_its_interval_and_joins_others() {
        use Coming::{Begun, Next};
        let start = Instant::now();
        let mut wishes = Wishes::default();
        assert_eq!(wishes.wish(asker(1), start), Some(Next(1)), "the first comes anyhow");
        wishes.begin();
        assert_eq!(wishes.wish(asker(1), start), Some(Begun(1)));
        wishes.is_fetching = false;
        assert!(wishes.askers.is_empty());
        assert_eq!(wishes.wish(asker(1), start), Some(Next(2)));
        assert_eq!(wishes.wish(asker(1), start), Some(Next(2)), "it is still to come");
        assert_eq!(wishes.wish(asker(2), start), Some(Next(2)), "one for both");
        wishes.begin();
        assert_eq!([1, 2].map(|number| wishes.wish(asker(number), start)), [Some(Begun(2)); 2]);
        wishes.is_fetching = false;
        assert_eq!(wishes.wish(asker(1), start), None);
        assert_eq!(wishes.wish(asker(2), start), Some(Next(3)));
        wishes.begin();
        wishes.is_fetching = false;
        assert_eq!(wishes.wish(asker(1), start + SOURCE_INTERVAL), Some(Next(4)));
        assert_eq!(wishes.askers.len(), 1, "the others are forgotten");
    }

    #[test]
    fn the_server_says_for_how_long_its_answer_counts() {
        let cases = [
            ("max-age=60", Some(60)),
            ("public, max-age=\"3600\" , must-revalidate", Some(3600)),
            ("no-cache", None),
            ("max-age=soon", None),
            ("max-age=", None),
            ("max-age=-1", None),
            ("max-age=1e300", None),
            ("max-age=+5", None),
            ("max-age=18446744073709551615", Some(u64::MAX)),
        ];
        for (text, expected) in cases {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, text.parse().unwrap())]);
            assert_eq!(max_age(&headers), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
        let beyond = HeaderMap::from_iter([(
            CACHE_CONTROL,
            "max-age=99999999999999999999".parse().unwrap(),
        )]);
        assert_eq!(max_age(&beyond), Some(Duration::MAX));
    }
}
