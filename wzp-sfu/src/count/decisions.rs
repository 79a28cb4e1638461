//! What is counted about decisions on who may join. Shards and whoever decides write,
//! scrapes read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wzp_telemetry::metrics::Histogram;

use super::reason::{AuthFailReason, Reason};

/// From a check in memory to the longest that people wait.
const BOUNDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All numbers about decisions.
#[derive(Debug)]
pub struct Decisions {
    granted: AtomicU64,
    refused: Box<[AtomicU64]>,
    /// From the request's arrival at whoever decides to its answer, or for as long as the
    /// shard has waited for that.
    pub duration: Histogram,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            granted: AtomicU64::default(),
            refused: AuthFailReason::ALL.iter().map(|_| AtomicU64::default()).collect(),
            duration: Histogram::new(BOUNDS),
        }
    }
}

impl Decisions {
    /// Participants who were let in.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// Those who were not, for that reason.
    pub fn failures(&self, reason: AuthFailReason) -> u64 {
        self.refused[reason.index()].load(Ordering::Relaxed)
    }

    /// Counts a decision that took so long.
    pub fn count(&self, result: Result<(), AuthFailReason>, took: Duration) {
        self.duration.observe(took);
        match result {
            Ok(()) => _ = self.granted.fetch_add(1, Ordering::Relaxed),
            Err(reason) => self.count_refusal(reason),
        }
    }

    /// Counts a refusal without a question.
    pub fn count_refusal(&self, reason: AuthFailReason) {
        self.refused[reason.index()].fetch_add(1, Ordering::Relaxed);
    }
}
