//! Limits for lines that strangers can cause.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

const SECOND: u64 = 1_000_000_000;

/// Lines of this process that a [`Limit`] has suppressed.
pub fn suppressed_lines() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// A token bucket for lines of one kind: so many in a time, and as many at once.
/// Takes no lock.
#[derive(Debug)]
pub struct Limit {
    /// Nanoseconds in which a token comes, and in which the bucket fills.
    interval: u64,
    period: u64,
    /// When the bucket will be full, in nanoseconds since [`ORIGIN`]. (This is the
    /// generic cell rate algorithm.)
    full_at: AtomicU64,
    /// Since the last line that was let through.
    suppressed: AtomicU64,
}

/// Leave to log a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// How many lines of the kind were suppressed since the last one. None is no
    /// field in the line.
    pub suppressed: Option<NonZeroU64>,
}

impl Limit {
    /// At most so many lines a second; at least 1.
    pub const fn per_second(lines: u64) -> Self {
        Self::per(SECOND, lines)
    }

    /// At most so many lines a minute; at least 1.
    pub const fn per_minute(lines: u64) -> Self {
        Self::per(60 * SECOND, lines)
    }

    const fn per(period: u64, lines: u64) -> Self {
        Self {
            interval: period / lines,
            period,
            full_at: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Whether a line of the kind may be logged now.
    pub fn admit(&self) -> Option<Admitted> {
        self.admit_at(u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn admit_at(&self, now: u64) -> Option<Admitted> {
        let take = |full_at: u64| {
            let after = full_at.max(now) + self.interval;
            (after <= now + self.period).then_some(after)
        };
        if self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let suppressed = NonZeroU64::new(self.suppressed.swap(0, Ordering::Relaxed));
            return Some(Admitted { suppressed });
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Logs a line that strangers can cause, at most so many times from this place. A line that comes after some were left out has their number in
/// the field `suppressed`.
///
/// ```
/// wzp_telemetry::limited!(DEBUG, per_second(10), src_ip = "192.0.2.1", "connection refused");
/// ```
#[macro_export]
macro_rules! limited {
    ($level:ident, $per:ident($lines:expr), $($line:tt)+) => {{
        static LIMIT: $crate::log::Limit = $crate::log::Limit::$per($lines);
        // What is not logged anyway is not counted as suppressed.
        if $crate::tracing::enabled!($crate::tracing::Level::$level)
            && let Some(admitted) = LIMIT.admit()
        {
            $crate::tracing::event!(
                $crate::tracing::Level::$level,
                suppressed = admitted.suppressed,
                $($line)+
            );
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_cut_and_the_next_line_tells_how_much_was_left_out() {
        let limit = Limit::per_second(10);
        let passed = |now, tries: usize| (0..tries).filter_map(|_| limit.admit_at(now)).count();
        assert_eq!(passed(5 * SECOND, 100), 10);
        // A tenth of a second brings one token.
        let admitted = limit.admit_at(5 * SECOND + SECOND / 10).unwrap();
        assert_eq!(admitted.suppressed, NonZeroU64::new(90));
        assert_eq!(limit.admit_at(5 * SECOND + SECOND / 10), None);
        // A quiet second fills the bucket, and no more than that.
        assert_eq!(passed(60 * SECOND, 100), 10);
    }

    #[test]
    fn several_threads_share_the_tokens() {
        let limit = Limit::per_second(100);
        let passed = || (0..1000).filter_map(|_| limit.admit_at(0)).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(passed)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(all, 100);
    }
}
