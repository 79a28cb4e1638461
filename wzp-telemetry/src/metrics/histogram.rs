//! Histograms that any thread may add to without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::lock::{Mutex, MutexGuard};

/// How many observations were at most how large. All are of one unit: seconds,
/// or shares of a whole.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, rising.
    bounds: &'static [f64],
    /// One for each bound and one for what is above the last.
    counts: Box<[AtomicU64]>,
    /// In billionths of the unit, the bits of an `f64`: exact up to 2^53 (104 days), then
    /// to 53 bits, and without an end. As an integer it would wrap after 584
    /// years, which are three weeks of 10,000 sessions.
    sum_nanos: AtomicU64,
    /// One for each count. Made with the first trace, so that a program that
    /// does not trace neither stores nor locks anything for it.
    exemplars: OnceLock<Box<[Mutex<Option<Exemplar>>]>>,
}

/// An observation and the trace that tells how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What was observed, in the histogram's unit.
    pub value: f64,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// When it was observed.
    pub at: SystemTime,
}

/// A histogram at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramReading {
    /// Upper bounds, rising, without +Inf.
    pub bounds: &'static [f64],
    /// Observations up to each bound, and all of them last: cumulative.
    pub counts: Vec<u64>,
    /// The sum of all observations, in their unit.
    pub sum: f64,
    /// The last observation with a trace in each bucket; empty if there never
    /// was one.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl Histogram {
    /// With these upper bounds, rising.
    pub fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted());
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_nanos: AtomicU64::new(0), exemplars: OnceLock::new() }
    }

    /// Adds an observation in seconds.
    pub fn observe(&self, value: Duration) {
        self.observe_with(value, None);
    }

    /// The same, with the trace that it belongs to if there is one.
    pub fn observe_with(&self, value: Duration, trace_id: Option<[u8; 16]>) {
        let bucket = self.add(value.as_secs_f64(), value.as_nanos() as f64);
        if let Some(trace_id) = trace_id {
            let exemplar = Exemplar { value: value.as_secs_f64(), trace_id, at: SystemTime::now() };
            let places = || self.counts.iter().map(|_| Mutex::default()).collect();
            *lock(&self.exemplars.get_or_init(places)[bucket]) = Some(exemplar);
        }
    }

    /// Adds an observation that is a share of a whole, 0 to 1.
    pub fn observe_ratio(&self, ratio: f64) {
        self.add(ratio, (ratio * 1e9).round());
    }

    /// Gives the bucket.
    fn add(&self, value: f64, nanos: f64) -> usize {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let more = |sum| Some((f64::from_bits(sum) + nanos).to_bits());
        // Never refused: `more` always has an answer.
        let _ = self.sum_nanos.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        bucket
    }

    /// What it holds now.
    pub fn reading(&self) -> HistogramReading {
        let mut total = 0;
        let counts = self.counts.iter().map(|count| {
            total += count.load(Ordering::Relaxed);
            total
        });
        let exemplars = self.exemplars.get().into_iter().flatten();
        HistogramReading {
            bounds: self.bounds,
            counts: counts.collect(),
            sum: f64::from_bits(self.sum_nanos.load(Ordering::Relaxed)) / 1e9,
            exemplars: exemplars.map(|place| lock(place).clone()).collect(),
        }
    }
}

fn lock(place: &Mutex<Option<Exemplar>>) -> MutexGuard<'_, Option<Exemplar>> {
    // One is replaced whole, so a panic elsewhere is no harm.
    place.lock()
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
        assert_eq!(reading.exemplars, []);
    }

    #[test]
    fn shares_are_counted_like_seconds() {
        let histogram = Histogram::new(&[0.0, 0.05]);
        for ratio in [0.0, 0.01, 0.05, 1.0] {
            histogram.observe_ratio(ratio);
        }
        let reading = histogram.reading();
        assert_eq!(reading.counts, [1, 3, 4]);
        assert!((reading.sum - 1.06).abs() < 1e-9, "{}", reading.sum);
    }

    #[test]
    fn the_sum_has_no_end() {
        let histogram = Histogram::new(&[1.0]);
        let ages = Duration::from_secs(18_000_000_000);
        let mut last = 0.0;
        for number in 1..=10_000 {
            histogram.observe(ages);
            let sum = histogram.reading().sum;
            assert!(sum > last, "{sum} after {last}");
            assert!((sum / (ages.as_secs_f64() * f64::from(number)) - 1.0).abs() < 1e-9, "{sum}");
            last = sum;
        }
        histogram.observe(Duration::MAX);
        histogram.observe_ratio(1.0);
        assert!(histogram.reading().sum >= Duration::MAX.as_secs_f64());
    }

    #[test]
    fn sums_are_written_as_people_would_write_them() {
        let histogram = Histogram::new(&[1.0]);
        for millis in [87_000, 100, 200, 300, 109] {
            histogram.observe(Duration::from_millis(millis));
        }
        for ratio in [0.1, 0.2, 0.000_001] {
            histogram.observe_ratio(ratio);
        }
        assert_eq!(histogram.reading().sum.to_string(), "88.009001");
    }

    #[test]
    fn each_bucket_keeps_its_last_trace() {
        let histogram = Histogram::new(&[0.1, 0.5]);
        for (millis, trace) in [(50, 1), (200, 2), (60, 3), (70, 0)] {
            let trace_id = (trace != 0).then_some([trace; 16]);
            histogram.observe_with(Duration::from_millis(millis), trace_id);
        }
        let kept = histogram.reading().exemplars.into_iter();
        let kept: Vec<_> = kept.map(|kept| kept.map(|e| (e.value, e.trace_id[0]))).collect();
        assert_eq!(kept, [Some((0.06, 3)), Some((0.2, 2)), None]);
    }
}
