//! Panics, of whatever thread or task: none is silent. Each is counted and becomes one
//! line of the log, and who cares for health can ask for the last one.
//!
//! What becomes of the thread or task is up to who started it: see [`supervised`] and
//! [`attempt`].

#[cfg(feature = "log")]
mod hook;
#[cfg(feature = "tasks")]
mod tasks;

pub use crate::attempt::attempt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::lock::Mutex;

#[cfg(feature = "log")]
pub use hook::watch;
#[cfg(feature = "tasks")]
pub use tasks::supervised;

/// The panics of this process.
#[derive(Debug)]
pub struct Panics {
    /// First words of threads' names. All other threads belong to the last one.
    parts: &'static [&'static str],
    counts: Box<[AtomicU64]>,
    last: Mutex<Option<Panic>>,
}

/// A panic, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// When it was.
    pub at: Instant,
    /// The name of the thread.
    pub thread: String,
}

impl Panics {
    /// None so far.
    pub fn new(parts: &'static [&'static str]) -> Self {
        let counts = parts.iter().map(|_| AtomicU64::new(0)).collect();
        Self { parts, counts, last: Mutex::default() }
    }

    /// Each part with how many panics it had.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.parts.iter().copied().zip(counts)
    }

    /// The last one.
    pub fn last(&self) -> Option<Panic> {
        // It is replaced whole, so a panic elsewhere is no harm.
        self.last.lock().clone()
    }

    /// Takes one into account.
    pub fn note(&self, panic: Panic) {
        let of = |part: &&str| panic.thread.starts_with(*part);
        let part = self.parts.iter().position(of).unwrap_or(self.parts.len() - 1);
        self.counts[part].fetch_add(1, Ordering::Relaxed);
        *self.last.lock() = Some(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_counts_for_the_part_that_its_thread_belongs_to() {
        let panics = Panics::new(&["shard", "log", "control"]);
        assert_eq!(panics.last(), None);
        for thread in ["shard-0", "shard-17", "log", "log-backups", "main", "tokio-rt-worker", ""] {
            panics.note(Panic { at: Instant::now(), thread: thread.to_owned() });
        }
        let counts: Vec<_> = panics.counts().collect();
        assert_eq!(counts, [("shard", 2), ("log", 2), ("control", 3)]);
        assert_eq!(panics.last().unwrap().thread, "");
    }
}
