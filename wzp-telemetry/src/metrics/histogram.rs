//! Histograms that any thread may add to without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many observations were at most how large.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in seconds, rising.
    bounds: &'static [f64],
    /// One for each bound and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

/// A histogram at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramReading {
    /// Upper bounds, rising, without +Inf.
    pub bounds: &'static [f64],
    /// Observations up to each bound, and all of them last: cumulative.
    pub counts: Vec<u64>,
    /// The sum of all observations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// With these upper bounds in seconds, rising.
    pub fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted());
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_nanos: AtomicU64::new(0) }
    }

    /// Adds an observation.
    pub fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn reading(&self) -> HistogramReading {
        let mut total = 0;
        let counts = self.counts.iter().map(|count| {
            total += count.load(Ordering::Relaxed);
            total
        });
        HistogramReading {
            bounds: self.bounds,
            counts: counts.collect(),
            sum: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(&[0.1, 0.5]);
        for millis in [0, 100, 101, 500, 501, 10_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let reading = histogram.reading();
        assert_eq!(reading.counts, [2, 4, 6]);
        assert!((reading.sum - 11.202).abs() < 1e-9, "{}", reading.sum);
    }
}
