//! How often the configuration was reloaded, and which changes wait for a restart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts of reloads. The control plane writes, scrapes read.
#[derive(Debug, Default)]
pub struct Reloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last_success: AtomicU64,
    waiting_keys: AtomicU64,
}

impl Reloads {
    /// One was taken on; so many keys wait for a restart.
    pub fn succeeded(&self, waiting_keys: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_success.store(now.map_or(0, |now| now.as_secs()), Ordering::Relaxed);
        self.waiting_keys.store(waiting_keys as u64, Ordering::Relaxed);
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// One was refused.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Taken on and refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// When one was last taken on, in seconds since 1970.
    pub fn last_success(&self) -> Option<u64> {
        Some(self.last_success.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Keys that were changed and wait for a restart.
    pub fn waiting_keys(&self) -> u64 {
        self.waiting_keys.load(Ordering::Relaxed)
    }
}
