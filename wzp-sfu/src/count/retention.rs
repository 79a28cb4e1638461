//! How long what has ended is still shown, so that each who scrapes finds its last
//! values, however many scrape.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one kind of series.
#[derive(Debug)]
pub struct Retention {
    keep_ms: AtomicU64,
    cut_short: AtomicU64,
}

/// What is left of a series that has ended. Its time begins with the first scrape that
/// shows it: so it is shown once, however seldom anybody scrapes.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastWords(Option<Instant>);

impl Retention {
    /// For so long from the first scrape on.
    pub fn new(keep: Duration) -> Self {
        let retention = Self { keep_ms: AtomicU64::new(0), cut_short: AtomicU64::new(0) };
        retention.set(keep);
        retention
    }

    /// For so long from now on, which counts for what ends and is not shown yet.
    pub fn set(&self, keep: Duration) {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        self.keep_ms.store(keep, Ordering::Relaxed);
    }

    /// Series that were dropped before their time because there was no place for them.
    pub fn cut_short(&self) -> u64 {
        self.cut_short.load(Ordering::Relaxed)
    }

    /// A scrape shows them.
    pub fn shown(&self, words: &mut LastWords, now: Instant) {
        let keep = Duration::from_millis(self.keep_ms.load(Ordering::Relaxed));
        words.0.get_or_insert_with(|| now.checked_add(keep).unwrap_or(now));
    }

    /// Others take their place.
    pub fn evicted(&self, words: LastWords, now: Instant) {
        self.cut_short.fetch_add(u64::from(!words.are_over(now)), Ordering::Relaxed);
    }
}

impl LastWords {
    /// Whether they have been shown for long enough.
    pub fn are_over(self, now: Instant) -> bool {
        self.0.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_with_the_first_scrape() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let retention = Retention::new(Duration::from_secs(60));
        let mut words = LastWords::default();
        assert!(!words.are_over(at(10_000)), "nobody has seen them");
        retention.shown(&mut words, at(10_000));
        retention.shown(&mut words, at(10_030));
        assert_eq!([10_059, 10_060].map(|seconds| words.are_over(at(seconds))), [false, true]);
        for (words, now, cut_short) in
            [(LastWords::default(), 0, 1), (words, 10_059, 2), (words, 10_060, 2)]
        {
            retention.evicted(words, at(now));
            assert_eq!(retention.cut_short(), cut_short);
        }
        retention.set(Duration::ZERO);
        let mut words = LastWords::default();
        retention.shown(&mut words, start);
        assert!(words.are_over(start), "shown once");
    }
}
