//! Which sequence numbers have come: extends them beyond 32 bits, finds
//! duplicates, counts what is missing.

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

/// The sequence numbers of one sender, without gaps in memory.
#[derive(Debug)]
pub(super) struct Arrivals {
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
    pub(super) fn new(first: u32) -> Self {
        let first = i64::from(first);
        let mut arrivals =
            Self { lowest: first, highest: first, seen: [0; _], received: 1, earlier_expected: 0 };
        arrivals.mark(first, true);
        arrivals
    }

    /// The sender numbers its frames anew; totals go on.
    pub(super) fn restart(&mut self, first: u32) {
        *self = Self {
            received: self.received + 1,
            earlier_expected: self.expected(),
            ..Self::new(first)
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

    /// Notes an extended number.
    pub(super) fn note(&mut self, sequence: i64) -> Arrival {
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
        if self.seen[Self::word(sequence)] & Self::bit(sequence) != 0 {
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

    #[test]
    fn arrivals_are_told_apart_across_the_wrap() {
        let first = u32::MAX - 1;
        let mut arrivals = Arrivals::new(first);
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
            assert_eq!(arrivals.note(sequence), arrival, "offset {offset}");
            assert_eq!(arrivals.expected(), expected, "offset {offset}");
            assert_eq!(arrivals.received(), received, "offset {offset}");
        }
        arrivals.restart(77);
        assert_eq!((arrivals.expected(), arrivals.received()), (5008, 9));
        assert_eq!(arrivals.extend(76), 76);
    }
}
