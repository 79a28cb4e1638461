//! Places that are few, handed out so that no source can have them all: it may hold
//! a quarter of what it leaves free. One that is alone gets a fifth of all, each
//! further one a fifth of what is left, so that it takes dozens to have everything.
//!
//! Known from the buffers of switches as dynamic thresholds (Choudhury and Hahne,
//! 1998): unlike a fixed share it lets a crowded office have what nobody else needs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::source::Source;

/// Places that are to be free for each that a source holds.
const FREE_FOR_ONE: usize = 4;

/// Places, and who holds them.
#[derive(Debug)]
pub(super) struct Shares {
    free: usize,
    /// Only sources that hold any.
    held: HashMap<Source, usize>,
}

impl Shares {
    pub(super) fn new(places: usize) -> Self {
        Self { free: places, held: HashMap::new() }
    }

    /// Whether the source may have one more.
    pub(super) fn has_one_for(&self, source: Source) -> bool {
        self.held_by(source).saturating_mul(FREE_FOR_ONE) < self.free
    }

    /// How many the source holds.
    pub(super) fn held_by(&self, source: Source) -> usize {
        self.held.get(&source).copied().unwrap_or_default()
    }

    /// Whether nobody holds any.
    pub(super) fn are_all_free(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives the source a place, if it may have one.
    pub(super) fn take(&mut self, source: Source) -> bool {
        if !self.has_one_for(source) {
            return false;
        }
        let held = self.held_by(source).saturating_add(1);
        self.free = self.free.saturating_sub(1);
        self.held.insert(source, held);
        true
    }

    /// Takes a place back.
    pub(super) fn give_back(&mut self, source: Source) {
        let Entry::Occupied(mut held) = self.held.entry(source) else { return };
        self.free = self.free.saturating_add(1);
        match held.get().saturating_sub(1) {
            0 => _ = held.remove(),
            rest => _ = held.insert(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    fn fill(shares: &mut Shares, source: Source) -> usize {
        std::iter::repeat_with(|| shares.take(source)).take_while(|took| *took).count()
    }

    #[test]
    fn whoever_comes_next_finds_a_place() {
        let mut shares = Shares::new(1000);
        assert_eq!([0, 1, 2].map(|number| fill(&mut shares, source(number))), [200, 160, 128]);
        for number in 3..20 {
            assert!(fill(&mut shares, source(number)) > 0, "{number}");
        }
        assert!(fill(&mut Shares::new(1), source(0)) == 1, "the only place is no share");
    }

    #[test]
    fn what_is_given_back_is_there_again_and_nothing_is_remembered() {
        let mut shares = Shares::new(25);
        for _ in 0..3 {
            assert_eq!([1, 2].map(|number| fill(&mut shares, source(number))), [5, 4]);
            (0..5).for_each(|_| shares.give_back(source(1)));
            (0..4).for_each(|_| shares.give_back(source(2)));
            shares.give_back(source(3));
            assert_eq!((shares.free, shares.held.len()), (25, 0));
        }
    }
}
