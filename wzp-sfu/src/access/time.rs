//! Times that somebody else says. They are bounded where they enter, so that no clock is
//! ever asked for a time that it cannot tell.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nothing lasts longer than ten years: whatever is said to end later, ends then.
/// Every clock of this program can tell that, in any unit that it uses.
pub const HORIZON: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The end of the year 9999, in seconds since 1970: the last that RFC 3339 can
/// write. What is said to be later is taken for it.
pub const LAST: Duration = Duration::from_secs(253_402_300_799);

/// When `time` from `now` is over; after [`HORIZON`] at the latest.
pub fn after(now: Instant, time: Duration) -> Instant {
    // No clock is within ten years of its end.
    now.checked_add(time.min(HORIZON)).unwrap_or(now)
}

/// When a grant ends, on the clock that whoever gave it meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// When a time is over that was given from then on.
    After(Instant),
    /// At a time of day, also if the clock has been set meanwhile, or the machine slept.
    At(SystemTime),
}

/// A clock that is set is noticed after so long.
const LOOK: Duration = Duration::from_secs(10);

impl Expiry {
    /// At the time of day that is so far from now; after [`HORIZON`] at the latest.
    pub fn at(now: Now, left: Duration) -> Self {
        // As for the steady clock.
        Self::At(now.wall.checked_add(left.min(HORIZON)).unwrap_or(now.wall))
    }

    /// Whether it is over.
    pub fn is_over(self, now: Now) -> bool {
        self.left(now).is_zero()
    }

    /// What is left of it, as far as the clocks tell now.
    fn left(self, now: Now) -> Duration {
        match self {
            Self::After(end) => end.saturating_duration_since(now.steady),
            Self::At(end) => end.duration_since(now.wall).unwrap_or_default(),
        }
    }

    /// When to ask [`Self::is_over`] again. `None`: no clock can tell.
    pub fn next_look(self, now: Now) -> Option<Instant> {
        now.steady.checked_add(match self {
            Self::After(_) => self.left(now),
            Self::At(_) => self.left(now).min(LOOK),
        })
    }

    /// The time of day at which it ends. `None`: no clock can tell.
    pub fn time_of_day(self, now: Now) -> Option<SystemTime> {
        match self {
            Self::After(_) => now.wall.checked_add(self.left(now)),
            Self::At(end) => Some(end),
        }
    }
}

/// One instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what lasts.
    pub steady: Instant,
    /// For what others say.
    pub wall: SystemTime,
}

impl Now {
    /// What the clocks say.
    pub fn read() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// Since 1970.
    pub fn since_1970(self) -> Duration {
        self.wall.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_ends_on_the_clock_that_was_meant() {
        let start = Now { steady: Instant::now(), wall: UNIX_EPOCH + LAST / 2 };
        // Seconds that have passed on both clocks, and what is left of a minute then.
        let seconds = Duration::from_secs;
        let (after, at) =
            (Expiry::After(start.steady + seconds(60)), Expiry::at(start, seconds(60)));
        let cases = [
            ("at once", 0, 0_i64, 60, 60),
            ("later", 59, 59, 1, 1),
            ("at the end", 60, 60, 0, 0),
            ("long after", 600, 600, 0, 0),
            ("the clock is set forward", 10, 50, 50, 10),
            ("by far", 10, 1_000_000, 50, 0),
            ("and back", 10, 5, 50, 55),
            ("back to before", 10, -3_600, 50, 3_660),
            ("the machine slept", 10, 70, 50, 0),
        ];
        for (case, steady, wall, of_after, of_at) in cases {
            let wall = match u64::try_from(wall) {
                Ok(forward) => start.wall + seconds(forward),
                Err(_) => start.wall - seconds(wall.unsigned_abs()),
            };
            let now = Now { steady: start.steady + seconds(steady), wall };
            assert_eq!(
                [after, at].map(|one| one.left(now)),
                [of_after, of_at].map(seconds),
                "{case}"
            );
            assert_eq!(after.next_look(now), Some(now.steady + seconds(of_after)), "{case}");
            assert_eq!(at.next_look(now), Some(now.steady + seconds(of_at).min(LOOK)), "{case}");
            assert_eq!(at.time_of_day(now), Some(start.wall + seconds(60)), "{case}");
            assert_eq!(after.time_of_day(now), Some(wall + seconds(of_after)), "{case}");
        }
        assert_eq!(Expiry::at(start, Duration::MAX), Expiry::At(start.wall + HORIZON));
    }

    #[test]
    fn every_time_from_now_is_one_that_clocks_tell() {
        let now = Instant::now();
        for (time, expected) in [
            (Duration::ZERO, Duration::ZERO),
            (HORIZON - Duration::from_nanos(1), HORIZON - Duration::from_nanos(1)),
            (LAST, HORIZON),
            (Duration::MAX, HORIZON),
        ] {
            assert_eq!(after(now, time) - now, expected);
        }
    }
}
