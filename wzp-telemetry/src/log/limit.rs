//! Limits for lines that strangers can cause.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bucket::{Bucket, SECOND};

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Lines of this process that a [`Limit`] has suppressed.
pub fn suppressed_lines() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// A limit for lines of one kind: so many in a time, and as many at once. Takes no
/// lock.
#[derive(Debug)]
pub struct Limit {
    bucket: Bucket,
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
        Self { bucket: Bucket::new(period, lines), suppressed: AtomicU64::new(0) }
    }

    /// Whether a line of the kind may be logged now.
    pub fn admit(&self) -> Option<Admitted> {
        self.settle(self.bucket.take())
    }

    /// The same by a clock of the caller's, which has run for so long.
    pub fn admit_at(&self, now: Duration) -> Option<Admitted> {
        self.settle(self.bucket.take_at(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)))
    }

    fn settle(&self, is_admitted: bool) -> Option<Admitted> {
        if is_admitted {
            let suppressed = NonZeroU64::new(self.suppressed.swap(0, Ordering::Relaxed));
            return Some(Admitted { suppressed });
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Logs a line that strangers can cause, about one of [`target`](crate::log::target), at
/// most so many times from this place. A line that comes after some were left out has
/// their number in the field `suppressed`.
///
/// ```
/// wzp_telemetry::limited!(SESSION, DEBUG, per_second(10), src_ip = "192.0.2.1", "connection refused");
/// ```
///
/// With a [`Limit`] and a clock of one's own, where a place in the code is not what the
/// lines have in common:
///
/// ```
/// use std::time::Duration;
/// use wzp_telemetry::log::Limit;
///
/// let (limit, now) = (Limit::per_second(10), Duration::from_secs(1));
/// wzp_telemetry::limited!(limit, now; SESSION, DEBUG, src_ip = "192.0.2.1", "connection refused");
/// ```
#[macro_export]
macro_rules! limited {
    (@ $target:ident, $level:ident, $admit:expr, $($line:tt)+) => {{
        // What is not logged anyway is not counted as suppressed.
        if $crate::tracing::enabled!(target: $crate::log::target::$target, $crate::tracing::Level::$level)
            && let Some(admitted) = $admit
        {
            $crate::tracing::event!(
                target: $crate::log::target::$target,
                $crate::tracing::Level::$level,
                suppressed = admitted.suppressed,
                $($line)+
            );
        }
    }};
    ($limit:expr, $now:expr; $target:ident, $level:ident, $($line:tt)+) => {{
        $crate::limited!(@ $target, $level, $limit.admit_at($now), $($line)+);
    }};
    ($target:ident, $level:ident, $per:ident($lines:expr), $($line:tt)+) => {{
        static LIMIT: $crate::log::Limit = $crate::log::Limit::$per($lines);
        $crate::limited!(@ $target, $level, LIMIT.admit(), $($line)+);
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_cut_and_the_next_line_tells_how_much_was_left_out() {
        let limit = Limit::per_second(10);
        let admit_at = |now| limit.settle(limit.bucket.take_at(now));
        let passed = |now, tries: usize| (0..tries).filter_map(|_| admit_at(now)).count();
        assert_eq!(passed(5 * SECOND, 100), 10);
        // A tenth of a second brings one token.
        let admitted = admit_at(5 * SECOND + SECOND / 10).unwrap();
        assert_eq!(admitted.suppressed, NonZeroU64::new(90));
        assert_eq!(admit_at(5 * SECOND + SECOND / 10), None);
    }
}
