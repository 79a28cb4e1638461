//! What is counted about those who are asked to decide, beside the decisions themselves.
//! The control plane writes, scrapes read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use wzp_sfu::count::decisions::Decisions;

use super::breaker::BreakerState;

/// All numbers about tokens.
#[derive(Debug, Default)]
pub struct AuthStats {
    /// What was decided, by whomever; shards count there what was not decided in time.
    pub decisions: Arc<Decisions>,
    breaker: AtomicU8,
    jwks_last_success: AtomicU64,
    jwks_fetched: AtomicU64,
    jwks_failed: AtomicU64,
}

impl AuthStats {
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
