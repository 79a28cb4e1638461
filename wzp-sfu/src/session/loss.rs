//! How many of a sender's frames are missing, by their sequence numbers, over a
//! window that moves with the clock.

use std::time::{Duration, Instant};

use wzp_proto::settling::{REORDERING, Settling};

/// One bucket's time. Sixty of them make the window.
const BUCKET: Duration = Duration::from_secs(1);
const BUCKETS: usize = 60;

/// How far a number may be ahead and still belong to the same count: what a
/// sender of 50 frames a second sends in a window.
const MAX_GAP: u32 = 3000;

/// How far a number may be behind and still be noticed as late or as a
/// duplicate: half a second of 250 frames a second, by when it is settled.
const MAX_LATE: u32 = u128::BITS - 1;

/// Frames that were due and frames that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) expected: u64,
    pub(crate) received: u64,
}

impl Bucket {
    /// Share of the frames that did not come, in parts per million. `None`: none
    /// was due.
    pub(crate) fn ppm(self) -> Option<u64> {
        // A late frame may be counted after its time has left the window.
        let lost = self.expected.saturating_sub(self.received);
        (self.expected > 0).then(|| lost.saturating_mul(1_000_000) / self.expected)
    }
}

/// Frames of the last minute.
#[derive(Debug)]
pub(crate) struct Minute {
    buckets: [Bucket; BUCKETS],
    current: usize,
    /// When the current bucket is over.
    until: Instant,
    /// The sum of all buckets.
    total: Bucket,
}

impl Minute {
    pub(crate) fn new(now: Instant) -> Self {
        let buckets = [Bucket::default(); BUCKETS];
        Self { buckets, current: 0, until: now + BUCKET, total: Bucket::default() }
    }

    pub(crate) fn count(&mut self, now: Instant, expected: u32, received: u32) {
        self.advance(now);
        for bucket in [&mut self.total, &mut self.buckets[self.current]] {
            bucket.expected += u64::from(expected);
            bucket.received += u64::from(received);
        }
    }

    /// [`Bucket::ppm`] of all of it.
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

    /// Forgets what is older.
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
        // Silent for more than a minute: all buckets are empty.
        self.until = self.until.max(now + BUCKET);
    }
}

/// The loss of one sender.
#[derive(Debug)]
pub(crate) struct LossWindow {
    minute: Minute,
    /// Where times of [`Settling`] begin.
    start: Instant,
    /// When it was last looked at.
    looked: Instant,
    stream: Option<Stream>,
    /// The number that would show that the sender counts anew: the one after a
    /// number out of all order (RFC 3550 appendix A.1).
    restart: Option<u32>,
}

/// Numbers that follow each other.
#[derive(Debug)]
struct Stream {
    /// The newest number.
    newest: u32,
    /// Bit n: the frame that is n before the newest came.
    seen: u128,
    settling: Settling,
    /// The last number that is counted.
    settled: u32,
}

impl LossWindow {
    pub(crate) fn new(now: Instant) -> Self {
        Self { minute: Minute::new(now), start: now, looked: now, stream: None, restart: None }
    }

    /// The frame of that number came.
    pub(crate) fn arrived(&mut self, now: Instant, sequence: u32) {
        self.settle(now);
        let Self { minute, stream, restart, start, .. } = self;
        let time = now.saturating_duration_since(*start);
        let Some(known) = stream else {
            *stream = Some(Stream::new(time, sequence));
            return;
        };
        let ahead = sequence.wrapping_sub(known.newest);
        let behind = known.newest.wrapping_sub(sequence);
        if (1..=MAX_GAP).contains(&ahead) {
            known.go_on(ahead, |expected, received| minute.count(now, expected, received));
        } else if behind <= MAX_LATE {
            if known.came_late(behind) {
                minute.count(now, 0, 1);
            }
        } else if *restart == Some(sequence) {
            // What is open of the old numbers is not waited for.
            let (expected, received) = known.settle(known.newest);
            minute.count(now, expected, received);
            let mut anew = Stream::new(time, sequence.wrapping_sub(1));
            anew.go_on(1, |_, _| {});
            (*stream, *restart) = (Some(anew), None);
        } else {
            *restart = Some(sequence.wrapping_add(1));
        }
    }

    /// [`Bucket::ppm`] of the last minute.
    pub(crate) fn ppm(&mut self, now: Instant) -> Option<u64> {
        self.settle(now);
        self.minute.ppm(now)
    }

    /// As [`Minute::last`].
    pub(crate) fn last(&mut self, now: Instant, buckets: usize) -> Bucket {
        self.settle(now);
        self.minute.last(now, buckets)
    }

    /// Counts the frames of which it is settled whether they came.
    fn settle(&mut self, now: Instant) {
        // By then all that had come was settled, however long nobody looked.
        let at = now.min(self.looked + REORDERING * 2);
        self.looked = now;
        let Some(stream) = &mut self.stream else { return };
        let time = now.saturating_duration_since(self.start);
        let through = stream.settling.advance(time, stream.newest);
        let (expected, received) = stream.settle(through);
        self.minute.count(at, expected, received);
    }
}

impl Stream {
    fn new(time: Duration, first: u32) -> Self {
        Self {
            newest: first,
            // What was before is not missed, and does not count if it comes.
            seen: u128::MAX,
            settling: Settling::new(time, first),
            settled: first.wrapping_sub(1),
        }
    }

    /// A frame came that is so far ahead of the newest. `count` is told of frames that
    /// are remembered no longer: expected and received.
    fn go_on(&mut self, ahead: u32, mut count: impl FnMut(u32, u32)) {
        let newest = self.newest.wrapping_add(ahead);
        let forgotten = newest.wrapping_sub(MAX_LATE + 1);
        // The rate of the sender is so high that they cannot be waited for.
        let (expected, received) = self.settle(earlier(forgotten, self.newest));
        count(expected, received);
        self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
        self.newest = newest;
        let (expected, received) = self.settle(forgotten);
        count(expected, received);
    }

    /// Whether the frame that is so far behind the newest is new, and was counted as
    /// lost.
    fn came_late(&mut self, behind: u32) -> bool {
        let bit = 1 << behind;
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        let number = self.newest.wrapping_sub(behind);
        is_new && earlier(number, self.settled) == number
    }

    /// Frames through that number that were not counted yet: how many were due, and how
    /// many of them came.
    fn settle(&mut self, through: u32) -> (u32, u32) {
        let expected = through.wrapping_sub(self.settled);
        if expected == 0 || earlier(through, self.settled) == through {
            return (0, 0);
        }
        self.settled = through;
        let behind = self.newest.wrapping_sub(through);
        let since = self.seen.checked_shr(behind).unwrap_or(0);
        let mask = 1u128.checked_shl(expected).map_or(u128::MAX, |bit| bit - 1);
        (expected, (since & mask).count_ones())
    }
}

/// The one of two numbers that comes first, where numbers wrap.
const fn earlier(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b) > u32::MAX / 2 { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Duration = Duration::from_millis(500);

    /// What 20 ms apart gives of these numbers, in parts per million.
    fn loss(sequences: impl IntoIterator<Item = u32>) -> Option<u64> {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        let mut now = start;
        for sequence in sequences {
            window.arrived(now, sequence);
            now += Duration::from_millis(20);
        }
        window.ppm(now + SETTLED)
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

    /// Each frame is up to 200 ms late, by chance: whenever one looks, none is lost that
    /// was not.
    #[test]
    fn reordering_is_no_loss_at_any_time() {
        for lost_of_hundred in [0, 5, 20] {
            let start = Instant::now();
            let mut window = LossWindow::new(start);
            let mut came: Vec<_> = (0..3000u32)
                .filter(|n| n * 37 % 100 >= lost_of_hundred)
                .map(|n| (start + Duration::from_millis(u64::from(20 * n + n * 7919 % 200)), n))
                .collect();
            came.sort_unstable();
            for (at, sequence) in came {
                window.arrived(at, sequence);
                let told = window.last(at, 60);
                let expected = told.expected * u64::from(100 - lost_of_hundred) / 100;
                assert!(told.received.abs_diff(expected) <= 3, "{lost_of_hundred} %: {told:?}");
            }
        }
    }

    #[test]
    fn a_frame_is_lost_when_its_time_has_passed() {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        let mut told = Vec::new();
        for number in (0..200).filter(|number| *number != 100) {
            let now = start + Duration::from_millis(20) * number;
            window.arrived(now, number);
            let bucket = window.last(now, 60);
            told.push((number, bucket.expected - bucket.received));
        }
        let (lost_at, _) = told.iter().find(|(_, lost)| *lost > 0).unwrap();
        // 101 shows that it is missing.
        let after = Duration::from_millis(20) * (lost_at - 101);
        assert!(after >= REORDERING - Duration::from_millis(20) && after <= SETTLED, "{after:?}");
        assert_eq!(told.last().map(|(_, lost)| *lost), Some(1));
    }

    /// More frames come in half a second than are remembered.
    #[test]
    fn the_frames_of_a_fast_sender_settle_sooner() {
        let start = Instant::now();
        let mut window = LossWindow::new(start);
        for number in (0..5000).filter(|number| number % 10 != 5) {
            window.arrived(start + Duration::from_millis(1) * number, number);
        }
        assert_eq!(window.ppm(start + Duration::from_secs(6)), Some(100_000));
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
        assert_eq!(window.ppm(after(1000)), None, "not settled");
        assert_eq!(window.ppm(after(1001)), Some(0));
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
        let now = start + BUCKET * 69 + SETTLED;
        for (buckets, expected) in [(0, 0), (1, 70), (3, 69 * 3), (12, 774)] {
            let last = window.last(now, buckets);
            assert!(last.expected.abs_diff(expected) <= 1, "{buckets}: {last:?}");
            assert!(last.ppm().is_none_or(|ppm| ppm.abs_diff(500_000) < 20_000), "{last:?}");
        }
        assert_eq!(window.last(now, 1000).expected, window.minute.total.expected);
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
