//! How long frames take from the sender, compared with the fastest of them:
//! what the depth of the buffer has to cover.
//!
//! Sender and listener share no clock. The transit of a frame, its arrival
//! minus the end of its audio on the sender's clock, is therefore known only up
//! to a constant, and compared with the smallest transit of the last ten
//! seconds. The end is used instead of the begin because a frame is sent when
//! its last sample is known: so a change of the frame length is no jitter.

use std::collections::VecDeque;

/// Transits older than this no longer count, in µs. Long enough to see a bad
/// second once in a while, short enough to forget it and to follow clocks that
/// drift (200 ppm move by 2 ms in it).
const WINDOW_US: i64 = 10_000_000;

/// More transits are not kept: 10 s of 20 ms frames.
const WINDOW_FRAMES: usize = 500;

/// One frame in `1 / LATE_SHARE` may come later than the buffer covers. Each
/// costs a concealed frame; covering all of them would let the single worst
/// frame of ten seconds set the delay.
const LATE_SHARE: usize = 100;

/// Transits of the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct DelayWindow {
    /// Arrival and transit, µs.
    transits: VecDeque<(i64, i64)>,
    sorted: Vec<i64>,
    fastest_us: i64,
    spread_us: i64,
    jitter_us: f64,
    last_us: Option<i64>,
}

impl DelayWindow {
    /// Forgets all transits but not the interarrival jitter, which is a figure
    /// of the whole session.
    pub(super) fn clear(&mut self) {
        self.transits.clear();
        self.last_us = None;
    }

    /// Adds a frame that came at `now_us`.
    pub(super) fn add(&mut self, now_us: i64, transit_us: i64) {
        // RFC 3550 section 6.4.1: J += (|D| - J) / 16.
        if let Some(last) = self.last_us.replace(transit_us) {
            let difference = (transit_us - last).abs() as f64;
            self.jitter_us += (difference - self.jitter_us) / 16.0;
        }
        while self.transits.len() >= WINDOW_FRAMES
            || self.transits.front().is_some_and(|(at, _)| *at < now_us - WINDOW_US)
        {
            self.transits.pop_front();
        }
        self.transits.push_back((now_us, transit_us));

        self.sorted.clear();
        self.sorted.extend(self.transits.iter().map(|(_, transit)| transit));
        let late = self.sorted.len() / LATE_SHARE;
        let rank = self.sorted.len() - 1 - late;
        let (faster, covered, _) = self.sorted.select_nth_unstable(rank);
        self.fastest_us = faster.iter().copied().min().unwrap_or(*covered);
        self.spread_us = *covered - self.fastest_us;
    }

    /// Transit of the fastest frame, µs.
    pub(super) fn fastest_us(&self) -> i64 {
        self.fastest_us
    }

    /// What 99 of 100 frames need at most beyond the fastest, µs.
    pub(super) fn spread_us(&self) -> i64 {
        self.spread_us
    }

    /// Interarrival jitter, RFC 3550 section 6.4.1, µs.
    pub(super) fn jitter_us(&self) -> u32 {
        self.jitter_us.round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_leaves_out_one_frame_in_a_hundred() {
        let mut window = DelayWindow::default();
        for frame in 0..99 {
            window.add(frame * 20_000, 5_000 + (frame % 10) * 1000);
        }
        assert_eq!((window.fastest_us(), window.spread_us()), (5_000, 9_000));
        window.add(99 * 20_000, 300_000);
        assert_eq!(window.spread_us(), 9_000, "the only one among 100");
        window.add(100 * 20_000, 300_000);
        assert_eq!(window.spread_us(), 295_000, "the second counts at once");
        for frame in 101..700 {
            window.add(frame * 20_000, 6_000);
        }
        assert_eq!((window.fastest_us(), window.spread_us()), (6_000, 0), "ten seconds later");
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut window = DelayWindow::default();
        // Transit alternates by 8 ms: the estimate converges to 8 ms.
        for frame in 0..400 {
            window.add(frame * 20_000, (frame % 2) * 8_000);
            if frame == 1 {
                assert_eq!(window.jitter_us(), 500, "8 ms / 16");
            }
        }
        assert_eq!(window.jitter_us(), 8_000);
    }
}
