//! What is counted about decisions. Shards and the control plane write, scrapes
//! read.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wzp_telemetry::metrics::Histogram;

use super::breaker::BreakerState;
use super::{Grant, Refusal};
use crate::metrics::reason::{AuthFailReason, Reason};

/// From a check in memory to the longest that people wait.
const BOUNDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All numbers about decisions.
#[derive(Debug)]
pub struct AuthStats {
    granted: AtomicU64,
    refused: Box<[AtomicU64]>,
    /// From the request's arrival at the control plane to its answer, or for as
    /// long as the shard has waited for that.
    pub duration: Histogram,
    breaker: AtomicU8,
    jwks_last_success: AtomicU64,
    jwks_fetched: AtomicU64,
    jwks_failed: AtomicU64,
}

impl Default for AuthStats {
    fn default() -> Self {
        Self {
            granted: AtomicU64::default(),
            refused: AuthFailReason::ALL.iter().map(|_| AtomicU64::default()).collect(),
            duration: Histogram::new(BOUNDS),
            breaker: AtomicU8::default(),
            jwks_last_success: AtomicU64::default(),
            jwks_fetched: AtomicU64::default(),
            jwks_failed: AtomicU64::default(),
        }
    }
}

impl AuthStats {
    /// Participants who were let in.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// Those who were not, for that reason.
    pub fn failures(&self, reason: AuthFailReason) -> u64 {
        self.refused[reason.index()].load(Ordering::Relaxed)
    }

    /// Whether the service of `auth.webhook.url` is asked.
    pub fn breaker(&self) -> BreakerState {
        BreakerState::ALL[usize::from(self.breaker.load(Ordering::Relaxed))]
    }

    /// When the key set of `auth.jwt.jwks_url` last came, in seconds since 1970.
    pub fn jwks_last_success(&self) -> Option<u64> {
        Some(self.jwks_last_success.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// How often it came, and how often it did not.
    pub fn jwks_fetches(&self) -> (u64, u64) {
        (self.jwks_fetched.load(Ordering::Relaxed), self.jwks_failed.load(Ordering::Relaxed))
    }

    pub(crate) fn count(&self, result: &Result<Grant, Refusal>, took: Duration) {
        self.duration.observe(took);
        match result {
            Ok(_) => _ = self.granted.fetch_add(1, Ordering::Relaxed),
            Err(refusal) => self.count_refusal(refusal.reason),
        }
    }

    pub(super) fn count_refusal(&self, reason: AuthFailReason) {
        self.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_breaker(&self, state: BreakerState) {
        self.breaker.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn count_fetch(&self, succeeded: bool) {
        if !succeeded {
            self.jwks_failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.jwks_fetched.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.jwks_last_success.store(now.as_secs(), Ordering::Relaxed);
    }
}
