//! How many of a sender's frames are missing, by their sequence numbers, over a
//! window that moves with the clock.

use std::time::{Duration, Instant};

/// One bucket's time. Sixty of them make the window.
const BUCKET: Duration = Duration::from_secs(1);
const BUCKETS: usize = 60;

/// How far a number may be ahead and still belong to the same count: what a
/// sender of 50 frames a second sends in a window.
const MAX_GAP: u32 = 3000;

/// How far a number may be behind and still be noticed as late or as a
/// duplicate.
const MAX_LATE: u32 = u128::BITS - 1;

/// Frames that were due and frames that came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) expected: u64,
    received: u64,
}

impl Bucket {
    /// Share of the frames that did not come, in parts per million. `None`: none
    /// was due.
    pub(crate) fn ppm(self) -> Option<u64> {
        // A late frame may be counted after its time has left the window.
        let lost = self.expected.saturating_sub(self.received);
        (self.expected > 0).then(|| lost * 1_000_000 / self.expected)
    }
}

/// The loss of one sender.
#[derive(Debug)]
pub(crate) struct LossWindow {
    buckets: [Bucket; BUCKETS],
    current: usize,
    /// When the current bucket is over.
    until: Instant,
    /// The sum of all buckets.
    total: Bucket,
    /// The newest number.
    newest: Option<u32>,
    /// Bit n: the frame that is n before the newest came.
    seen: u128,
    /// The number that would show that the sender counts anew: the one after a
    /// number out of all order (RFC 3550 appendix A.1).
    restart: Option<u32>,
}

impl LossWindow {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            buckets: [Bucket::default(); BUCKETS],
            current: 0,
            until: now + BUCKET,
            total: Bucket::default(),
            newest: None,
            seen: 0,
            restart: None,
        }
    }

    /// The frame of that number came.
    pub(crate) fn arrived(&mut self, now: Instant, sequence: u32) {
        self.advance(now);
        let Some(newest) = self.newest else { return self.begin(sequence, 1) };
        let ahead = sequence.wrapping_sub(newest);
        let behind = newest.wrapping_sub(sequence);
        if (1..=MAX_GAP).contains(&ahead) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = Some(sequence);
            self.count(ahead, 1);
        } else if behind <= MAX_LATE {
            let bit = 1 << behind;
            if self.seen & bit == 0 {
                self.seen |= bit;
                self.count(0, 1);
            }
        } else if self.restart == Some(sequence) {
            self.begin(sequence, 2);
        } else {
            self.restart = Some(sequence.wrapping_add(1));
        }
    }

    /// [`Bucket::ppm`] of the whole window.
    pub(crate) fn ppm(&mut self, now: Instant) -> Option<u64> {
        self.advance(now);
        self.total.ppm()
    }

    /// The frames of the last `buckets` buckets, the one that is not over
    /// included.
    pub(crate) fn last(&mut self, now: Instant, buckets: usize) -> Bucket {
        self.advance(now);
        let mut sum = Bucket::default();
        for ago in 0..buckets.min(BUCKETS) {
            let bucket = self.buckets[(self.current + BUCKETS - ago) % BUCKETS];
            sum.expected += bucket.expected;
            sum.received += bucket.received;
        }
        sum
    }

    /// Counts from here on; `arrived` frames of the new count are here.
    fn begin(&mut self, sequence: u32, arrived: u32) {
        self.newest = Some(sequence);
        self.restart = None;
        // What was before is not missed, and does not count if it comes.
        self.seen = u128::MAX;
        self.count(arrived, arrived);
    }

    fn count(&mut self, expected: u32, received: u32) {
        for bucket in [&mut self.total, &mut self.buckets[self.current]] {
            bucket.expected += u64::from(expected);
            bucket.received += u64::from(received);
        }
    }

    /// Forgets what is older than the window.
    fn advance(&mut self, now: Instant) {
        for _ in 0..BUCKETS {
            if now < self.until {
                return;
            }
            self.current = (self.current + 1) % BUCKETS;
            let old = std::mem::take(&mut self.buckets[self.current]);
            self.total.expected -= old.expected;
            self.total.received -= old.received;
            self.until += BUCKET;
        }
        // Silent for more than a window: all buckets are empty.
        self.until = self.until.max(now + BUCKET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 20 ms apart gives of these numbers, in parts per million.
    fn loss(sequences: impl IntoIterator<Item = u32>) -> Option<u64> {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        let mut now = start;
        for sequence in sequences {
            window.arrived(now, sequence);
            now += Duration::from_millis(20);
        }
        window.ppm(now)
    }

    #[test]
    fn only_what_never_came_is_lost() {
        let all_but = |missing: &'static [u32]| (0..1000).filter(|n| !missing.contains(n));
        let cases: [(&str, Vec<u32>, Option<u64>); 9] = [
            ("nothing was sent", vec![], None),
            ("all came", (0..1000).collect(), Some(0)),
            ("every 20th is missing", (0..2000).filter(|n| n % 20 != 10).collect(), Some(50_000)),
            ("one is missing", all_but(&[500]).collect(), Some(1000)),
            (
                "one is late",
                all_but(&[500]).take(540).chain([500]).chain(541..1000).collect(),
                Some(0),
            ),
            ("one came twice", (0..500).chain([499, 450]).chain(500..1000).collect(), Some(0)),
            ("numbers wrap around", (0..1000).map(|n: u32| n.wrapping_sub(500)).collect(), Some(0)),
            (
                "one before the first is no loss",
                [7, 6].into_iter().chain(8..1000).collect(),
                Some(0),
            ),
            (
                "one is missing and another twice",
                all_but(&[500]).chain([600]).collect(),
                Some(1000),
            ),
        ];
        for (case, sequences, expected) in cases {
            assert_eq!(loss(sequences), expected, "{case}");
        }
    }

    #[test]
    fn a_sender_that_counts_anew_has_lost_nothing() {
        for (before, after) in [(5000, 0), (100, 1_000_000), (1_000_000, 90)] {
            let sequences = (before..before + 500).chain(after..after + 500);
            assert_eq!(loss(sequences), Some(0), "{before} to {after}");
        }
        let stray = (0..500).chain([1_000_000]).chain(500..1000);
        assert_eq!(loss(stray), Some(0), "a single number out of order is no new count");
    }

    #[test]
    fn the_window_moves_on_while_nothing_comes() {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        (0..100).filter(|n| n % 2 == 0).for_each(|n| window.arrived(start, n));
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(window.ppm(after(59)), Some(494_949), "99 were due, the last is not missed yet");
        assert_eq!(window.ppm(after(60)), None);
        window.arrived(after(1000), 99);
        assert_eq!(window.ppm(after(1000)), Some(0));
        assert_eq!(window.ppm(after(1059)), Some(0));
        assert_eq!(window.ppm(after(1061)), None);
    }

    #[test]
    fn the_last_buckets_are_those_of_the_last_seconds() {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        // Second n has n frames, every other one of which comes.
        let mut sequence = 0;
        for second in 1..=70 {
            for _ in 0..second {
                sequence += 1;
                if sequence % 2 == 0 {
                    window.arrived(start + BUCKET * (second - 1), sequence);
                }
            }
        }
        let now = start + BUCKET * 69;
        for (buckets, expected) in [(0, 0), (1, 70), (3, 69 * 3), (12, 774)] {
            let last = window.last(now, buckets);
            assert!(last.expected.abs_diff(expected) <= 1, "{buckets}: {last:?}");
            assert!(last.ppm().is_none_or(|ppm| ppm.abs_diff(500_000) < 20_000), "{last:?}");
        }
        assert_eq!(window.last(now, 1000).expected, window.total.expected);
    }

    #[test]
    fn the_window_holds_exactly_its_time() {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        // Everything is lost in the first minute but the frames that show it.
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            for n in 0..50 {
                if second >= 60 || n == 0 || (second, n) == (59, 49) {
                    window.arrived(now, second as u32 * 50 + n);
                }
            }
        }
        assert_eq!(window.ppm(start + Duration::from_secs(119)), Some(0));
    }
}
