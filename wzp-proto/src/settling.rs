//! When a frame that has not come is lost: one time for all who count losses, so
//! that reordering is none for any of them and their counts can be compared.

use std::time::Duration;

/// A frame is lost if it has not come when so much time has passed since a later one
/// came. Jitter buffers wait for less, and no path that voice can use reorders by
/// more.
pub const REORDERING: Duration = Duration::from_millis(250);

/// Up to which of a sender's frames it is settled whether they came: those that
/// are not later than the newest of a time that is [`REORDERING`] ago, or up to
/// twice that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settling {
    settled: u32,
    /// The newest frame at `since`, which is settled next.
    next: u32,
    since: Duration,
}

impl Settling {
    /// Nothing is settled but what was before `first`, which comes at `now` of any
    /// clock that goes on evenly.
    pub const fn new(now: Duration, first: u32) -> Self {
        Self { settled: first.wrapping_sub(1), next: first, since: now }
    }

    /// The number of the last frame that is settled at `now`, with the newest that came
    /// so far. To be called before a frame is noted and before anything is told:
    /// between two calls `newest` has not changed.
    pub fn advance(&mut self, now: Duration, newest: u32) -> u32 {
        let age = now.saturating_sub(self.since);
        if age >= REORDERING {
            let is_quiet = age >= REORDERING.saturating_mul(2);
            self.settled = if is_quiet { newest } else { self.next };
            self.next = newest;
            self.since = now;
        }
        self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    #[test]
    fn a_frame_settles_when_its_time_has_passed_and_before_twice_that() {
        let first = u32::MAX - 10;
        let mut settling = Settling::new(Duration::ZERO, first);
        for number in 1..1000 {
            let now = FRAME * number;
            let settled = settling.advance(now, first.wrapping_add(number - 1));
            let newest = |ago: Duration| (now.saturating_sub(ago).as_millis() / 20) as u32;
            let since_first = settled.wrapping_sub(first).wrapping_add(1);
            let (least, most) = (newest(REORDERING * 2 + FRAME), newest(REORDERING) + 1);
            assert!((least..=most).contains(&since_first), "{number}: {since_first}");
        }
    }

    #[test]
    fn a_pause_settles_everything() {
        let mut settling = Settling::new(Duration::ZERO, 7);
        assert_eq!(settling.advance(FRAME, 9), 6);
        assert_eq!(settling.advance(REORDERING, 9), 7);
        assert_eq!(settling.advance(REORDERING * 2, 9), 9);
        assert_eq!(settling.advance(REORDERING * 2 + FRAME, 12), 9);
        assert_eq!(settling.advance(REORDERING * 100, 12), 12);
    }
}
