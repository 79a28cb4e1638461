//! Numbers that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge with a single writer. Adding is a plain load and store:
/// no locked instruction, so counting costs the packet path next to nothing.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the thread that owns the number may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` off a gauge. Only the thread that owns the number may call it.
    pub fn sub(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }

    /// Makes it `n`. Only the thread that owns the number may call it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value as last written.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number with a single writer that is absent until it has been measured.
#[derive(Debug)]
pub struct Measured(AtomicU64);

/// Stands for "not measured": no measurement is so large.
const ABSENT: u64 = u64::MAX;

impl Default for Measured {
    fn default() -> Self {
        Self(AtomicU64::new(ABSENT))
    }
}

impl Measured {
    /// Makes it `value`. Only the thread that owns the number may call it.
    pub fn set(&self, value: Option<u64>) {
        self.0.store(value.unwrap_or(ABSENT), Ordering::Relaxed);
    }

    /// The value as last written.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != ABSENT)
    }
}
