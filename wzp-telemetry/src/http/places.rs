//! Who has the connections of a listener, and who makes way for a newcomer.
//!
//! Whoever comes gets in. Where all places are taken, or all that one owner may have,
//! another connection goes: of the network that has the most, there of the owner who has
//! the most, and of these the one that has gone longest without an answer. Those that are
//! being answered and those that are not have half of the places each, as far as both
//! want them: neither who has just come nor who waits for a long answer is pushed out by
//! the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::lock::{Mutex, MutexGuard};
use crate::metrics::Abort;

/// Who may have a place.
pub trait Owner: Copy + Eq + Hash {
    /// All owners that may well be one: it has a place in the same way as they.
    fn network(self) -> Self;
}

/// A process, which no other stands for.
impl Owner for i32 {
    fn network(self) -> Self {
        self
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Places in all.
    pub all: usize,
    /// Of one owner.
    pub each: usize,
}

/// Why a connection had to make way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// All places were taken.
    Crowded,
    /// Its owner had all that one may have, and wanted another.
    Share,
}

impl From<Lost> for Abort {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Crowded => Self::Crowded,
            Lost::Share => Self::Share,
        }
    }
}

/// The places of a listener, by owner: an address, or a process.
#[derive(Debug)]
pub struct Places<K> {
    share: Share,
    seats: Mutex<Seats<K>>,
}

#[derive(Debug)]
struct Seats<K> {
    /// By the order in which they were taken.
    taken: BTreeMap<u64, Seat<K>>,
    /// Counts what happens, in place of a clock.
    events: u64,
}

#[derive(Debug)]
struct Seat<K> {
    owner: K,
    /// Whether a request is being answered, of somebody who may ask.
    busy: bool,
    /// The event of its beginning or last answer.
    since: u64,
    lost: oneshot::Sender<Lost>,
}

impl<K: Owner> Places<K> {
    /// All of them free.
    pub fn new(share: Share) -> Arc<Self> {
        let seats = Seats { taken: BTreeMap::new(), events: 0 };
        Arc::new(Self { share, seats: Mutex::new(seats) })
    }

    /// A place for a connection of `owner`, until it is dropped or the receiver is told
    /// that the connection must end now: another one has its place.
    pub fn take(self: &Arc<Self>, owner: K) -> (Place<K>, oneshot::Receiver<Lost>) {
        let (lost, is_lost) = oneshot::channel();
        let mut seats = self.seats();
        if let Some((number, why)) = seats.least_of_use(owner, self.share)
            && let Some(seat) = seats.taken.remove(&number)
        {
            // It may be ending by itself.
            let _ = seat.lost.send(why);
        }
        let number = seats.next_event();
        seats.taken.insert(number, Seat { owner, busy: false, since: number, lost });
        (Place { places: self.clone(), number }, is_lost)
    }

    fn seats(&self) -> MutexGuard<'_, Seats<K>> {
        // Every change leaves them whole, so a panic elsewhere is no harm.
        self.seats.lock()
    }
}

impl<K: Owner> Seats<K> {
    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// Who has to make way for a connection of `owner`, if anybody has to.
    fn least_of_use(&self, owner: K, share: Share) -> Option<(u64, Lost)> {
        let (mut held, mut crowd) = (HashMap::<K, usize>::new(), HashMap::<K, usize>::new());
        for seat in self.taken.values() {
            *held.entry(seat.owner).or_default() += 1;
            *crowd.entry(seat.owner.network()).or_default() += 1;
        }
        let (among, why): (Option<K>, _) = match () {
            () if held.get(&owner).is_some_and(|own| *own >= share.each) => {
                (Some(owner), Lost::Share)
            }
            () if self.taken.len() >= share.all => (None, Lost::Crowded),
            () => return None,
        };
        let seats = self.taken.iter().filter(|(_, seat)| among.is_none_or(|k| k == seat.owner));
        let (busy, idle): (Vec<_>, Vec<_>) = seats.partition(|(_, seat)| seat.busy);
        let seats = if busy.len() > idle.len() { busy } else { idle };
        let least = seats.into_iter().min_by_key(|(_, seat)| {
            let network = crowd.get(&seat.owner.network()).copied();
            (Reverse(network), Reverse(held.get(&seat.owner).copied()), seat.since)
        });
        least.map(|(number, _)| (*number, why))
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct Place<K: Owner> {
    places: Arc<Places<K>>,
    number: u64,
}

impl<K: Owner> Place<K> {
    /// A request of somebody who may ask is being answered from here on.
    pub fn asked(&self) {
        self.update(|seat, _| seat.busy = true);
    }

    /// The answer is made; it may still be on its way.
    pub fn answered(&self) {
        self.update(|seat, event| {
            seat.busy = false;
            seat.since = event;
        });
    }

    fn update(&self, change: impl FnOnce(&mut Seat<K>, u64)) {
        let mut seats = self.places.seats();
        let event = seats.next_event();
        // It is gone if another connection has the place.
        if let Some(seat) = seats.taken.get_mut(&self.number) {
            change(seat, event);
        }
    }
}

impl<K: Owner> Drop for Place<K> {
    fn drop(&mut self) {
        self.places.seats().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capitals are other owners in the network of the small letter.
    impl Owner for char {
        fn network(self) -> Self {
            self.to_ascii_lowercase()
        }
    }

    /// Connections by name, the first letter being the owner's.
    struct Hall {
        places: Arc<Places<char>>,
        inside: Vec<(&'static str, Place<char>, oneshot::Receiver<Lost>)>,
    }

    impl Hall {
        fn new(all: usize, each: usize) -> Self {
            Self { places: Places::new(Share { all, each }), inside: Vec::new() }
        }

        /// Those who had to make way.
        fn comes(&mut self, name: &'static str) -> Vec<(&'static str, Lost)> {
            let (place, lost) = self.places.take(name.chars().next().unwrap());
            self.inside.push((name, place, lost));
            let gone = self.inside.extract_if(.., |(_, _, lost)| !lost.is_empty());
            gone.map(|(name, _, mut lost)| (name, lost.try_recv().unwrap())).collect()
        }

        fn place(&self, name: &str) -> &Place<char> {
            &self.inside.iter().find(|(inside, ..)| *inside == name).unwrap().1
        }

        fn leaves(&mut self, name: &str) {
            self.inside.retain(|(inside, ..)| *inside != name);
        }
    }

    #[test]
    fn a_newcomer_takes_the_place_of_its_own_oldest_or_of_the_heaviest() {
        let mut hall = Hall::new(5, 3);
        for name in ["b1", "a1", "a2", "a3"] {
            assert_eq!(hall.comes(name), []);
        }
        assert_eq!(hall.comes("a4"), [("a1", Lost::Share)], "all that one may have");
        assert_eq!(hall.comes("c1"), []);
        assert_eq!(hall.comes("c2"), [("a2", Lost::Crowded)], "a has the most");
        // Now a, b and c have 2, 1 and 2.
        hall.place("a3").asked();
        hall.place("a3").answered();
        assert_eq!(hall.comes("d1"), [("a4", Lost::Crowded)], "a3 was answered since");
        assert_eq!(hall.comes("e1"), [("c1", Lost::Crowded)]);
        assert_eq!(hall.comes("f1"), [("b1", Lost::Crowded)], "each has one: the oldest");
    }

    #[test]
    fn who_is_being_answered_and_who_has_just_come_have_half_of_the_places_each() {
        let mut hall = Hall::new(4, 2);
        for name in ["a1", "b1", "c1", "d1"] {
            hall.comes(name);
        }
        hall.place("a1").asked();
        hall.place("b1").asked();
        assert_eq!(hall.comes("e1"), [("c1", Lost::Crowded)], "two are being answered");
        hall.place("d1").asked();
        assert_eq!(hall.comes("f1"), [("a1", Lost::Crowded)], "the oldest of three");
        assert_eq!(hall.comes("g1"), [("e1", Lost::Crowded)]);
        assert_eq!(hall.comes("h1"), [("f1", Lost::Crowded)]);
        hall.place("g1").asked();
        hall.place("h1").asked();
        assert_eq!(hall.comes("i1"), [("b1", Lost::Crowded)], "even so a newcomer gets in");
    }

    #[test]
    fn a_network_of_many_owners_makes_way_to_others_and_not_they_to_it() {
        let mut hall = Hall::new(4, 4);
        for name in ["x1", "a1", "A1", "A2"] {
            hall.comes(name);
        }
        assert_eq!(hall.comes("a2"), [("A1", Lost::Crowded)], "A has the most of it");
        for (comes, goes) in [("a3", "a1"), ("a4", "a2"), ("a5", "a3")] {
            assert_eq!(hall.comes(comes), [(goes, Lost::Crowded)]);
        }
        for name in ["A2", "a4", "a5"] {
            hall.place(name).asked();
        }
        assert_eq!(hall.comes("y1"), [("a4", Lost::Crowded)]);
        assert!(hall.inside.iter().any(|(name, ..)| *name == "x1"), "it is the oldest of all");
    }

    #[test]
    fn a_place_that_was_left_is_free() {
        let mut hall = Hall::new(1, 1);
        hall.comes("a1");
        hall.leaves("a1");
        assert_eq!(hall.comes("b1"), []);
        assert_eq!(hall.comes("c1"), [("b1", Lost::Crowded)]);
        assert_eq!(hall.places.seats().taken.len(), 1, "the old place does not free the new one's");
    }
}
