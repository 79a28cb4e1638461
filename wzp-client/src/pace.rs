//! When to send and when to play: one tick every 20 ms, counted from a fixed
//! start. Delays of single ticks do not add up, so that fifty ticks a second
//! are fifty, not forty-nine and something.

use std::time::Duration;

use tokio::time::Instant;
use wzp_media::TICK;

/// A clock that is behind runs four times as fast until it is back in step:
/// 100 ms of delay are made up for within 33 ms, and a listener or a rate limit
/// sees no burst.
const CATCH_UP: Duration = Duration::from_millis(5);

/// A clock further behind than this was not delayed, it was stopped (a
/// suspended machine). It goes on from now: nobody waits for voice so old.
const MAX_BEHIND: Duration = Duration::from_secs(1);

/// Tells the time of each tick.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the next tick should have been or should be.
    due: Instant,
    /// When it may be at the earliest.
    earliest: Instant,
    /// The longest that a tick was done after its time.
    longest_delay: Duration,
}

impl Pace {
    /// The first tick is at `start`.
    pub(crate) const fn new(start: Instant) -> Self {
        Self { due: start, earliest: start, longest_delay: Duration::ZERO }
    }

    /// When the next tick is.
    pub(crate) fn next(&self) -> Instant {
        self.due.max(self.earliest)
    }

    /// When the next tick should be or should have been: the time up to which all
    /// has been done.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// How late the latest of all ticks was: for so long this machine did not let the
    /// program run.
    pub(crate) const fn longest_delay(&self) -> Duration {
        self.longest_delay
    }

    /// Goes on at `start` after a pause.
    pub(crate) const fn restart(&mut self, start: Instant) {
        (self.due, self.earliest) = (start, start);
    }

    /// A tick was done at `now`.
    pub(crate) fn ticked(&mut self, now: Instant) {
        self.longest_delay = self.longest_delay.max(now.saturating_duration_since(self.due));
        self.due += TICK;
        if now.saturating_duration_since(self.due) > MAX_BEHIND {
            self.due = now + TICK;
        }
        self.earliest = now + CATCH_UP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn late_ticks_do_not_delay_later_ones() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for tick in 0..1000 {
            assert_eq!(pace.next(), start + TICK * tick);
            pace.ticked(pace.next() + ms(u64::from(tick % 15)));
        }
    }

    #[test]
    fn delay_is_made_up_for_without_a_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.ticked(start + ms(100));
        let mut at = Vec::new();
        while at.len() < 9 {
            let next = pace.next();
            at.push((next - start).as_millis());
            pace.ticked(next);
        }
        assert_eq!(at, [105, 110, 115, 120, 125, 130, 140, 160, 180]);
    }

    #[test]
    fn stopped_clock_goes_on_from_now() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let resumed = start + Duration::from_secs(3600);
        pace.ticked(resumed);
        assert_eq!(pace.next(), resumed + TICK);
    }
}
