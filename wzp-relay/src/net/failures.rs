//! How long a shard that failed waits before it goes on. What failed may come again
//! at once and for ever, such as a packet; then the machine has to do other things,
//! too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Failures are counted over so long.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// So many in [`WINDOW`] cost no pause.
const FREE: usize = 10;

/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: clients that were told to join again wait no longer than that
/// for an answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Failures in one window beyond which nothing changes.
const COUNTED: usize = 32;

/// When a shard failed of late.
#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<Instant>);

impl Failures {
    /// It has failed now; how long to wait.
    pub(super) fn pause_after(&mut self, now: Instant) -> Duration {
        self.0.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        self.0.push_back(now);
        if self.0.len() > COUNTED {
            self.0.pop_front();
        }
        match self.0.len().saturating_sub(FREE) {
            0 => Duration::ZERO,
            above => (FIRST_PAUSE * (1 << (above - 1))).min(LONGEST_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_often_waits_longer_and_longer_but_never_long() {
        let start = Instant::now();
        let mut failures = Failures::default();
        let mut pause_at = |ms| failures.pause_after(start + Duration::from_millis(ms)).as_millis();
        let ten: Vec<_> = (0..10).map(&mut pause_at).collect();
        assert_eq!(ten, [0; 10]);
        let more: Vec<_> = (10..20).map(&mut pause_at).collect();
        assert_eq!(more, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        assert!((0..1000).all(|number| pause_at(1000 + number) == 1000));
        assert_eq!(pause_at(62_000), 0, "a minute later nothing is held against it");
    }

    #[test]
    fn who_fails_now_and_then_never_waits() {
        let start = Instant::now();
        let mut failures = Failures::default();
        for number in 0..100 {
            let at = start + Duration::from_secs(7) * number;
            assert_eq!(failures.pause_after(at), Duration::ZERO);
        }
    }
}
