//! How much of something that strangers can cause is let through.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A second in nanoseconds, the unit of time here.
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of this process's own clock.
pub fn now() -> u64 {
    u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A token bucket: so many in a time, and as many at once. Takes no lock.
#[derive(Debug)]
pub struct Bucket {
    /// Nanoseconds in which the bucket fills, and in which a token comes.
    period: u64,
    interval: AtomicU64,
    /// When the bucket will be full, in nanoseconds since [`ORIGIN`]. (This is the
    /// generic cell rate algorithm.)
    full_at: AtomicU64,
}

impl Bucket {
    /// At least 1 token in a period of so many nanoseconds.
    pub const fn new(period: u64, tokens: u64) -> Self {
        let interval = AtomicU64::new(period / tokens);
        Self { period, interval, full_at: AtomicU64::new(0) }
    }

    /// At least 1, from now on.
    pub fn set_tokens(&self, tokens: u64) {
        self.interval.store(self.period / tokens, Ordering::Relaxed);
    }

    /// Takes a token, if there is one.
    pub fn take(&self) -> bool {
        self.take_at(now())
    }

    /// Takes a token at that time, if there is one.
    pub fn take_at(&self, now: u64) -> bool {
        self.try_take_at(now).is_ok()
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none: in how many nanoseconds there will be one.
    pub fn try_take_at(&self, now: u64) -> Result<(), u64> {
        let interval = self.interval.load(Ordering::Relaxed);
        let after = |full_at: u64| full_at.max(now).saturating_add(interval);
        let full = now.saturating_add(self.period);
        let take = |full_at| Some(after(full_at)).filter(|after| *after <= full);
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| ()).map_err(|full_at| after(full_at) - full)
    }

    /// Nanoseconds until the bucket is full.
    pub fn missing_at(&self, now: u64) -> u64 {
        self.full_at.load(Ordering::Relaxed).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &Bucket, now: u64) -> usize {
        (0..1000).filter(|_| bucket.take_at(now)).count()
    }

    #[test]
    fn tokens_come_one_by_one_and_no_more_than_fit() {
        let bucket = Bucket::new(SECOND, 10);
        assert_eq!(taken(&bucket, 5 * SECOND), 10);
        assert_eq!(taken(&bucket, 5 * SECOND + SECOND / 10), 1);
        assert_eq!(taken(&bucket, 60 * SECOND), 10);
    }

    #[test]
    fn another_number_counts_from_then_on() {
        let bucket = Bucket::new(SECOND, 10);
        bucket.set_tokens(2);
        assert_eq!(taken(&bucket, SECOND), 2);
        bucket.set_tokens(100);
        assert_eq!(taken(&bucket, SECOND + SECOND / 2), 50);
        assert_eq!(taken(&bucket, 60 * SECOND), 100);
    }

    #[test]
    fn several_threads_share_the_tokens() {
        let bucket = Bucket::new(SECOND, 100);
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| taken(&bucket, 0))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(all, 100);
    }
}
