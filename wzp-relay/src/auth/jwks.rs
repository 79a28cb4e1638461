//! A key set that a server publishes (RFC 7517), kept fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CACHE_CONTROL};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use wzp_telemetry::audit::Audit;
use wzp_telemetry::panics::supervised;
use wzp_transport::trust::TrustError;

use super::http::HttpClient;
use super::keys::{KeyChange, KeySet};
use super::stats::AuthStats;
use crate::audit;
use crate::config::JwtSection;

/// Longest key set, in bytes: a hundred RSA keys.
const MAX_BYTES: usize = 128 * 1024;

/// At most so often is the set fetched because of a key id that is not known:
/// strangers choose those.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);

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
    url: Uri,
    rules: JwtSection,
    client: HttpClient,
    keys: ArcSwap<KeySet>,
    failing: AtomicBool,
    /// When a key id that is not known last had the set fetched. Locked while
    /// the set is fetched, for whatever reason.
    asked: Mutex<Option<Instant>>,
    stats: Arc<AuthStats>,
    audit: Audit,
}

impl Jwks {
    /// Begins to fetch the set; until it comes there is what there was.
    pub(super) fn start(
        url: &Uri,
        rules: &JwtSection,
        keys: Arc<KeySet>,
        stats: Arc<AuthStats>,
        audit: Audit,
    ) -> Result<Self, TrustError> {
        let source = Arc::new(Source {
            url: url.clone(),
            rules: rules.clone(),
            client: HttpClient::new(url)?,
            keys: ArcSwap::new(keys),
            failing: AtomicBool::new(false),
            asked: Mutex::default(),
            stats,
            audit,
        });
        let refreshed = source.clone();
        let refreshing = async move { supervised(|| refreshed.clone().keep_fresh()).await };
        let refreshing = tokio::spawn(refreshing).abort_handle();
        Ok(Self { source, refreshing })
    }

    /// The keys as last fetched.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.source.keys.load_full()
    }

    /// Where they come from.
    pub(super) fn url(&self) -> &Uri {
        &self.source.url
    }

    /// Whether the last try to fetch them failed, or they never came.
    pub(super) fn is_failing(&self) -> bool {
        self.source.failing.load(Ordering::Relaxed) || self.keys().is_empty()
    }

    /// Fetches the set because of a key that it lacks, unless that has been done
    /// a moment ago.
    pub(super) async fn refresh_unless(&self, is_known: impl Fn(&KeySet) -> bool) {
        let mut asked = self.source.asked.lock().await;
        let recently = asked.is_some_and(|at| at.elapsed() < UNKNOWN_KEY_INTERVAL);
        if is_known(&self.keys()) || recently {
            return;
        }
        *asked = Some(Instant::now());
        self.source.fetch().await;
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
            let asked = self.asked.lock().await;
            let pause = self.fetch().await;
            drop(asked);
            sleep(pause).await;
        }
    }

    /// Fetches the set; when to do so again.
    async fn fetch(&self) -> Duration {
        let before = self.keys.load_full();
        let fetched = self.try_fetch().await;
        self.stats.count_fetch(fetched.is_ok());
        let was_failing = self.failing.swap(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok((keys, pause)) => {
                let change = KeyChange { old: before.ids(), new: keys.ids() };
                self.keys.store(Arc::new(keys));
                if change.is_any() {
                    info!(url = %self.url, keys = ?change.new, "signing keys changed");
                    audit::fetched_keys(&self.audit, &change);
                }
                if was_failing {
                    info!(url = %self.url, "signing keys can be fetched again");
                }
                pause
            }
            Err(reason) => {
                if !was_failing {
                    warn!(url = %self.url, reason, kept = before.ids().len(),
                          "signing keys cannot be fetched; the old ones are kept");
                }
                RETRY
            }
        }
    }

    async fn try_fetch(&self) -> Result<(KeySet, Duration), String> {
        let request = Request::get(self.url.clone()).header(ACCEPT, "application/json");
        let request = request.body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + self.rules.jwks_timeout;
        let response = self.client.send(request, MAX_BYTES, deadline).await;
        let response = response.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("the server answered {}", response.status()));
        }
        let pause = max_age(response.headers()).unwrap_or(self.rules.jwks_refresh);
        let keys = KeySet::from_jwks(response.body(), "the answer", &self.rules.algorithms);
        Ok((keys.map_err(|error| error.to_string())?, pause.clamp(RETRY, LONGEST)))
    }
}

/// For how long an answer counts (RFC 9111 section 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = directives.split(',').find_map(|one| one.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_for_how_long_its_answer_counts() {
        let cases = [
            ("max-age=60", Some(60)),
            ("public, max-age=\"3600\" , must-revalidate", Some(3600)),
            ("no-cache", None),
            ("max-age=soon", None),
        ];
        for (text, expected) in cases {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, text.parse().unwrap())]);
            assert_eq!(max_age(&headers), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
