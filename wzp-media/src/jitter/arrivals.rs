//! Which sequence numbers have come: extends them beyond 32 bits, finds
//! duplicates, counts what is missing.

use std::time::Duration;

use wzp_proto::settling::Settling;

/// Sequence numbers, counted back from the highest, for which it is remembered
/// whether they came: 20 s of 20 ms frames.
const REMEMBERED: i64 = 1024;

/// What a sequence number turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The highest so far; so many before it are missing for now.
    Newest { skipped: u64 },
    /// One that had been missing.
    Belated,
    /// It came before.
    Duplicate,
    /// Too old to know.
    Forgotten,
}

/// What is settled of a sender's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Frames that should have come.
    pub expected: u64,
    /// Those of them that did not.
    pub lost: u64,
    /// The last sequence number that `expected` counts.
    pub through: u32,
}

/// The sequence numbers of one sender, without gaps in memory.
#[derive(Debug)]
pub(super) struct Arrivals {
    settling: Settling,
    lowest: i64,
    highest: i64,
    /// Bit `sequence % REMEMBERED`: it came.
    seen: [u64; (REMEMBERED / 64) as usize],
    received: u64,
    /// Of the sender's earlier lives, before [`Arrivals::restart`].
    earlier_expected: u64,
}

impl Arrivals {
    /// Begins with the first frame's sequence number.
    pub(super) fn new(now: Duration, first: u32) -> Self {
        let settling = Settling::new(now, first);
        let first = i64::from(first);
        let mut arrivals = Self {
            settling,
            lowest: first,
            highest: first,
            seen: [0; _],
            received: 1,
            earlier_expected: 0,
        };
        arrivals.mark(first, true);
        arrivals
    }

    /// The sender begins a new numbering; totals go on.
    pub(super) fn restart(&mut self, now: Duration, first: u32) {
        *self = Self {
            received: self.received + 1,
            earlier_expected: self.expected(),
            ..Self::new(now, first)
        };
    }

    /// `sequence` as the extended number closest to the highest so far.
    pub(super) fn extend(&self, sequence: u32) -> i64 {
        self.highest + i64::from(sequence.wrapping_sub(self.highest as u32) as i32)
    }

    /// How far `sequence` is from the highest so far, either way.
    pub(super) fn distance(&self, sequence: u32) -> u64 {
        self.extend(sequence).abs_diff(self.highest)
    }

    /// Notes an extended number that comes at `now`.
    pub(super) fn note(&mut self, now: Duration, sequence: i64) -> Arrival {
        self.settling.advance(now, self.highest as u32);
        if sequence > self.highest {
            let skipped = sequence - self.highest - 1;
            for missing in (sequence - skipped.min(REMEMBERED))..sequence {
                self.mark(missing, false);
            }
            self.highest = sequence;
            self.mark(sequence, true);
            self.received += 1;
            return Arrival::Newest { skipped: skipped as u64 };
        }
        if sequence <= self.highest - REMEMBERED {
            return Arrival::Forgotten;
        }
        if self.has(sequence) {
            return Arrival::Duplicate;
        }
        self.lowest = self.lowest.min(sequence);
        self.mark(sequence, true);
        self.received += 1;
        Arrival::Belated
    }

    /// Frames that should have come so far.
    pub(super) fn expected(&self) -> u64 {
        self.earlier_expected + (self.highest - self.lowest + 1) as u64
    }

    /// Frames that came, each counted once.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// What is settled at `now`.
    pub(super) fn settled(&self, now: Duration) -> Settled {
        let through = { self.settling }.advance(now, self.highest as u32);
        let last = self.extend(through);
        let open = (last + 1).max(self.highest - REMEMBERED + 1)..=self.highest;
        let came = open.filter(|sequence| self.has(*sequence)).count() as u64;
        let expected = self.expected() - (self.highest - last) as u64;
        Settled { expected, lost: expected.saturating_sub(self.received - came), through }
    }

    fn has(&self, sequence: i64) -> bool {
        self.seen[Self::word(sequence)] & Self::bit(sequence) != 0
    }

    fn word(sequence: i64) -> usize {
        (sequence.rem_euclid(REMEMBERED) / 64) as usize
    }

    fn bit(sequence: i64) -> u64 {
        1 << sequence.rem_euclid(64)
    }

    fn mark(&mut self, sequence: i64, came: bool) {
        if came {
            self.seen[Self::word(sequence)] |= Self::bit(sequence);
        } else {
            self.seen[Self::word(sequence)] &= !Self::bit(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn arrivals_are_told_apart_across_the_wrap() {
        let first = u32::MAX - 1;
        let mut arrivals = Arrivals::new(NOW, first);
        let steps = [
            (0, Arrival::Duplicate, 1, 1),
            (1, Arrival::Newest { skipped: 0 }, 2, 2),
            (4, Arrival::Newest { skipped: 2 }, 5, 3),
            (3, Arrival::Belated, 5, 4),
            (3, Arrival::Duplicate, 5, 4),
            // Even before the first.
            (-1, Arrival::Belated, 6, 5),
            (4 + 1024, Arrival::Newest { skipped: 1023 }, 1030, 6),
            (4, Arrival::Forgotten, 1030, 6),
            (5, Arrival::Belated, 1030, 7),
            (5 + 5000, Arrival::Newest { skipped: 3976 }, 5007, 8),
        ];
        for (offset, arrival, expected, received) in steps {
            let sequence = arrivals.extend(first.wrapping_add_signed(offset));
            assert_eq!(sequence, i64::from(first) + i64::from(offset));
            assert_eq!(arrivals.note(NOW, sequence), arrival, "offset {offset}");
            assert_eq!(arrivals.expected(), expected, "offset {offset}");
            assert_eq!(arrivals.received(), received, "offset {offset}");
        }
        arrivals.restart(NOW, 77);
        assert_eq!((arrivals.expected(), arrivals.received()), (5008, 9));
        assert_eq!(arrivals.extend(76), 76);
    }

    /// Every fifth frame is lost, and each is up to 200 ms late by chance: whenever one
    /// looks, a fifth of what is settled is lost.
    #[test]
    fn what_is_late_is_not_settled_and_not_lost() {
        let first = u32::MAX - 1000;
        let ms = |n: u32| Duration::from_millis(u64::from(20 * n + n * 7919 % 200));
        let mut came: Vec<_> = (0..2000).filter(|n| n % 5 != 4).map(|n| (ms(n), n)).collect();
        came.sort_unstable();
        let mut arrivals = Arrivals::new(NOW, first);
        for (now, number) in came.into_iter().filter(|(_, number)| *number > 0) {
            let sequence = arrivals.extend(first.wrapping_add(number));
            arrivals.note(now, sequence);
            let Settled { expected, lost, through } = arrivals.settled(now);
            assert_eq!(through.wrapping_sub(first).wrapping_add(1), expected as u32, "{now:?}");
            assert_eq!(lost, expected / 5, "{expected} at {now:?}");
            let open = arrivals.expected() - expected;
            assert!((0..=40).contains(&open), "{open} open at {now:?}");
        }
        let all = Settled { expected: 1999, lost: 399, through: first.wrapping_add(1998) };
        assert_eq!(arrivals.settled(Duration::from_secs(60)), all);
        // What comes after all was not lost.
        let belated = arrivals.extend(first.wrapping_add(1994));
        arrivals.note(Duration::from_secs(61), belated);
        assert_eq!(arrivals.settled(Duration::from_secs(61)), Settled { lost: 398, ..all });
    }

    #[test]
    fn totals_of_what_is_settled_go_on_when_a_sender_numbers_anew() {
        let mut arrivals = Arrivals::new(NOW, 10);
        for number in (11..=50).filter(|number| number % 10 != 0) {
            arrivals.note(NOW, number);
        }
        let later = Duration::from_secs(1);
        arrivals.restart(later, 7_000_000);
        // All that was before the new beginning is settled with it.
        assert_eq!(arrivals.settled(later), Settled { expected: 40, lost: 3, through: 6_999_999 });
        arrivals.note(later, 7_000_001);
        assert_eq!(
            arrivals.settled(later * 2),
            Settled { expected: 42, lost: 3, through: 7_000_001 }
        );
    }
}
