//! Which frames of one sender were handed to the members here: what a listener's report
//! is compared with. Per frame it is a bit.

/// Numbers, counted back from the newest, that are remembered: 20 s of 20 ms frames,
/// and 4 s of the 250 a second that a sender may send at most by default. Reports come
/// once a second, and a path that delays them by more is none for voice.
const REMEMBERED: u32 = 1024;

const WORD: u32 = u64::BITS;
const WORDS: usize = (REMEMBERED / WORD) as usize;

/// A number that differs by more belongs to another numbering (RFC 3550 appendix A.1).
const MAX_GAP: u32 = 3000;

/// The frames of one sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed {
    newest: u32,
    /// Bit `number % REMEMBERED`: it passed.
    seen: [u64; WORDS],
}

impl Passed {
    /// The first frame passed.
    pub(crate) fn new(first: u32) -> Self {
        let mut passed = Self { newest: first, ..Self::default() };
        passed.mark(first);
        passed
    }

    /// Another frame passed.
    pub(crate) fn note(&mut self, sequence: u32) {
        let ahead = sequence.wrapping_sub(self.newest);
        let behind = self.newest.wrapping_sub(sequence);
        if (1..=MAX_GAP).contains(&ahead) {
            (1..ahead.min(REMEMBERED)).for_each(|back| self.clear(sequence.wrapping_sub(back)));
            if ahead > REMEMBERED {
                self.seen = [0; WORDS];
            }
            self.newest = sequence;
        } else if behind >= REMEMBERED {
            *self = Self::new(sequence);
        }
        self.mark(sequence);
    }

    /// The newest of them.
    pub(crate) fn newest(&self) -> u32 {
        self.newest
    }

    /// How many of the `count` numbers that end with `through` passed; `None` if not all
    /// of them are remembered.
    pub(crate) fn among(&self, count: u32, through: u32) -> Option<u32> {
        let behind = self.newest.wrapping_sub(through);
        let is_remembered = behind.checked_add(count).is_some_and(|back| back <= REMEMBERED);
        let numbers = (0..count).map(|back| through.wrapping_sub(back));
        is_remembered.then(|| numbers.map(|number| u32::from(self.has(number))).sum())
    }

    fn has(&self, sequence: u32) -> bool {
        self.seen[word(sequence)] & bit(sequence) != 0
    }

    fn mark(&mut self, sequence: u32) {
        self.seen[word(sequence)] |= bit(sequence);
    }

    fn clear(&mut self, sequence: u32) {
        self.seen[word(sequence)] &= !bit(sequence);
    }
}

const fn word(sequence: u32) -> usize {
    (sequence % REMEMBERED / WORD) as usize
}

const fn bit(sequence: u32) -> u64 {
    1 << (sequence % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_counted_among_the_last_thousand() {
        let first = u32::MAX - 1000;
        let at = |offset: u32| first.wrapping_add(offset);
        let mut passed = Passed::new(first);
        (1..3000).filter(|n| n % 5 != 4).for_each(|n| passed.note(at(n)));
        // Late, and twice.
        [2994, 2994, 2998].into_iter().for_each(|n| passed.note(at(n)));
        let cases = [
            (0, 2998, Some(0)),
            (5, 2993, Some(4)),
            (5, 2994, Some(5)),
            (100, 2990, Some(80)),
            (1023, 2998, Some(820)),
            (1024, 2998, Some(821)),
            (1025, 2998, None),
            (u32::MAX, 2998, None),
            (1, 2999, None),
        ];
        for (count, through, expected) in cases {
            assert_eq!(passed.among(count, at(through)), expected, "{count} to {through}");
        }
    }

    #[test]
    fn gaps_are_no_frames() {
        for (ahead, expected) in [(10, 2), (1000, 2), (1024, 1), (1025, 1), (3000, 1)] {
            let mut passed = Passed::new(0);
            passed.note(1);
            passed.note(1 + ahead);
            assert_eq!(passed.among(1 + ahead.min(1023), 1 + ahead), Some(expected), "{ahead}");
        }
    }

    #[test]
    fn another_numbering_begins_anew() {
        let mut passed = Passed::new(0);
        (0..500).for_each(|n| passed.note(n));
        passed.note(1_000_000);
        passed.note(1_000_001);
        assert_eq!(passed.among(500, 1_000_001), Some(2));
        assert_eq!(passed.among(1, 499), None);
    }
}
