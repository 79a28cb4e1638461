//! Which slot counts whose packets: a state machine without a kernel. Map,
//! memory and time come in from outside.
//!
//! A slot's life: a session opens and takes one; its key points there; the
//! session moves and a second key points there too, until the first is given
//! up; the session closes and its keys go; a little later the slot is read a
//! last time; then it waits for the next session, which counts from what the
//! slot held when it came. The kernel's memory is never written: a counter
//! that is read and reset loses what came between.
//!
//! A key may be claimed by several sessions, and one of them has it: who shook hands
//! from that address last, for that is proof. A move is none, as one packet with a
//! forged source is all it takes (RFC 9000 section 9.3.1), so it takes nothing from
//! others: who moves to a key waits behind those who claim it, and gets it when they
//! are gone.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use wzp_common::flow::{FlowKey, UNATTRIBUTED};

/// Keys and their slots, as the kernel programs see them.
pub trait FlowMap {
    /// Makes frames of `key` count in `slot`, wherever they did before.
    ///
    /// # Errors
    /// The kernel's.
    fn insert(&mut self, key: &FlowKey, slot: u32) -> io::Result<()>;

    /// Makes frames of `key` count as unattributed.
    ///
    /// # Errors
    /// The kernel's.
    fn remove(&mut self, key: &FlowKey) -> io::Result<()>;
}

/// The counters of slots. They never go back.
pub trait SlotReader {
    /// What has ever been counted in this slot.
    fn read(&self, slot: u32) -> Totals;
}

/// Packets and bytes both ways. What a byte is: [`wzp_common::size`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames from the peer.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames to the peer.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

impl Totals {
    /// What has come on top of `base`. Counters may wrap around.
    #[must_use]
    pub fn since(self, base: Self) -> Self {
        self.with(base, u64::wrapping_sub)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::wrapping_add)
    }

    fn with(self, other: Self, operation: fn(u64, u64) -> u64) -> Self {
        Self {
            rx_packets: operation(self.rx_packets, other.rx_packets),
            rx_bytes: operation(self.rx_bytes, other.rx_bytes),
            tx_packets: operation(self.tx_packets, other.tx_packets),
            tx_bytes: operation(self.tx_bytes, other.tx_bytes),
        }
    }
}

/// A session that is over, and all that was counted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The session.
    pub session: u64,
    /// Its packets and bytes, from first to last.
    pub totals: Totals,
}

/// How the slots are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStatistics {
    /// Slots of sessions that are open or about to be read a last time.
    pub used: u32,
    /// Slots there are.
    pub capacity: u32,
    /// Sessions that got no slot because all were used.
    pub full: u64,
    /// Keys that the kernel did not take or give back.
    pub map_errors: u64,
    /// Open sessions whose frames are not counted for them.
    pub unattributed_sessions: u64,
}

/// How long frames from a session's old address still count for it. Packets on
/// their way when the peer moved arrive within a round trip, and QUIC keeps the
/// old path for three times its timeout (RFC 9000 section 9.3).
pub const KEEP_OLD_KEY: Duration = Duration::from_secs(5);

/// How long a closed session's slot waits for programs that found its key
/// before it was removed. They take less than a microsecond.
pub const SETTLE: Duration = Duration::from_millis(100);

/// Who counts where.
#[derive(Debug)]
pub struct Slots<M, R> {
    map: M,
    reader: R,
    capacity: u32,
    sessions: HashMap<u64, Session>,
    /// The slots of those who claim a key, at least one; the first has it. A second
    /// session may come from the address of a first that has not noticed yet that its
    /// peer is gone, or from the same socket.
    claims: HashMap<FlowKey, VecDeque<u32>>,
    /// Old keys to give up, the oldest first.
    expiring: VecDeque<(Instant, u64)>,
    /// Slots to be read a last time, the oldest first.
    closing: VecDeque<Closing>,
    /// Slots that were used before, and what they held; the longest free first.
    free: VecDeque<(u32, Totals)>,
    /// Slots from here on were never used.
    fresh: u32,
    closed: Totals,
    statistics: SlotStatistics,
}

#[derive(Debug)]
struct Session {
    place: Option<Place>,
}

/// Where a session's packets are counted.
#[derive(Debug)]
struct Place {
    slot: u32,
    base: Totals,
    key: FlowKey,
    /// The key before this one, and when it is given up.
    old: Option<(FlowKey, Instant)>,
}

#[derive(Debug)]
struct Closing {
    due: Instant,
    session: u64,
    slot: u32,
    base: Totals,
}

impl<M: FlowMap, R: SlotReader> Slots<M, R> {
    /// `capacity` slots, numbered from 1; the map must take two keys for each.
    pub fn new(map: M, reader: R, capacity: u32) -> Self {
        Self {
            map,
            reader,
            capacity,
            sessions: HashMap::new(),
            claims: HashMap::new(),
            expiring: VecDeque::new(),
            closing: VecDeque::new(),
            free: VecDeque::new(),
            fresh: UNATTRIBUTED + 1,
            closed: Totals::default(),
            statistics: SlotStatistics { capacity, ..SlotStatistics::default() },
        }
    }

    /// A session begins, with a peer of this key; gives its slot. `None`: there
    /// is none left, and its frames count as unattributed.
    pub fn open(&mut self, session: u64, key: FlowKey, now: Instant) -> Option<u32> {
        if self.sessions.contains_key(&session) {
            self.moved(session, key, now);
            return self.slot(session);
        }
        let place = self.take().and_then(|(slot, base)| {
            if self.claim(key, slot, Claim::Proven) {
                return Some(Place { slot, base, key, old: None });
            }
            self.free.push_front((slot, base));
            None
        });
        let slot = place.as_ref().map(|place| place.slot);
        match slot {
            Some(_) => self.statistics.used += 1,
            None => self.statistics.unattributed_sessions += 1,
        }
        self.sessions.insert(session, Session { place });
        slot
    }

    /// A session's peer says that it has another address.
    pub fn moved(&mut self, session: u64, key: FlowKey, now: Instant) {
        let Some(place) = self.sessions.get(&session).and_then(|known| known.place.as_ref()) else {
            return;
        };
        let (slot, current, old) = (place.slot, place.key, place.old);
        if key == current {
            return;
        }
        // Two keys to a slot: one that moves fast gives up its first at once.
        // One that moves back finds its key as it was.
        if let Some((old, _)) = old
            && old != key
        {
            self.give_up(old, slot);
        }
        self.claim(key, slot, Claim::Said);
        let due = now + KEEP_OLD_KEY;
        self.expiring.push_back((due, session));
        if let Some(place) = self.sessions.get_mut(&session).and_then(|known| known.place.as_mut())
        {
            place.key = key;
            place.old = Some((current, due));
        }
    }

    /// A session is over. [`Self::tick`] gives its totals.
    pub fn close(&mut self, session: u64, now: Instant) {
        let Some(known) = self.sessions.remove(&session) else { return };
        let Some(place) = known.place else {
            self.statistics.unattributed_sessions -= 1;
            return;
        };
        self.give_up(place.key, place.slot);
        if let Some((old, _)) = place.old {
            self.give_up(old, place.slot);
        }
        let (slot, base) = (place.slot, place.base);
        self.closing.push_back(Closing { due: now + SETTLE, session, slot, base });
    }

    /// Gives up old keys and reads slots of closed sessions a last time. To be
    /// called about once a second.
    pub fn tick(&mut self, now: Instant) -> Vec<Closed> {
        while let Some((_, session)) = self.expiring.pop_front_if(|(due, _)| *due <= now) {
            let place = self.sessions.get_mut(&session).and_then(|known| known.place.as_mut());
            let Some(place) = place else { continue };
            // It may have moved again since; then another entry is for it.
            if let Some((old, _)) = place.old.take_if(|(_, due)| *due <= now) {
                let slot = place.slot;
                self.give_up(old, slot);
            }
        }
        let mut closed = Vec::new();
        while let Some(last) = self.closing.pop_front_if(|last| last.due <= now) {
            let held = self.reader.read(last.slot);
            let totals = held.since(last.base);
            self.closed = self.closed.plus(totals);
            self.free.push_back((last.slot, held));
            self.statistics.used -= 1;
            closed.push(Closed { session: last.session, totals });
        }
        closed
    }

    /// All sessions that have a slot and what is counted for them by now.
    pub fn live(&self) -> impl Iterator<Item = (u64, Totals)> {
        self.sessions.iter().filter_map(|(session, known)| {
            let place = known.place.as_ref()?;
            Some((*session, self.reader.read(place.slot).since(place.base)))
        })
    }

    /// What is counted for this session by now. `None`: it has no slot.
    pub fn totals(&self, session: u64) -> Option<Totals> {
        let place = self.sessions.get(&session)?.place.as_ref()?;
        Some(self.reader.read(place.slot).since(place.base))
    }

    /// What was counted for sessions that [`Self::tick`] has given back.
    pub fn closed(&self) -> Totals {
        self.closed
    }

    /// What is counted for sessions, open or over.
    pub fn attributed(&self) -> Totals {
        let closing = self.closing.iter().map(|last| self.reader.read(last.slot).since(last.base));
        let live = self.live().map(|(_, totals)| totals);
        live.chain(closing).fold(self.closed, Totals::plus)
    }

    /// What frames of the relay's port have been counted at all. That is
    /// [`Self::attributed`] and slot 0, always: nothing is lost between them.
    pub fn counted(&self) -> Totals {
        (UNATTRIBUTED..self.fresh)
            .map(|slot| self.reader.read(slot))
            .fold(Totals::default(), Totals::plus)
    }

    /// What frames have been counted for no session.
    pub fn unattributed(&self) -> Totals {
        self.reader.read(UNATTRIBUTED)
    }

    /// How the slots are used.
    pub fn statistics(&self) -> SlotStatistics {
        self.statistics
    }

    fn slot(&self, session: u64) -> Option<u32> {
        Some(self.sessions.get(&session)?.place.as_ref()?.slot)
    }

    /// A slot, and what it holds already.
    fn take(&mut self) -> Option<(u32, Totals)> {
        if self.fresh <= self.capacity {
            let slot = self.fresh;
            self.fresh += 1;
            return Some((slot, self.reader.read(slot)));
        }
        let Some((slot, held)) = self.free.pop_front() else {
            self.statistics.full += 1;
            return None;
        };
        // What came after the last look belongs to the one before, whose totals
        // are given away: the sum has it.
        let now = self.reader.read(slot);
        self.closed = self.closed.plus(now.since(held));
        Some((slot, now))
    }

    /// Whether the slot is among those who claim the key now.
    fn claim(&mut self, key: FlowKey, slot: u32, claim: Claim) -> bool {
        let claims = self.claims.entry(key).or_default();
        if claims.contains(&slot) {
            return true;
        }
        if claim == Claim::Said && !claims.is_empty() {
            claims.push_back(slot);
            return true;
        }
        if self.map.insert(&key, slot).is_err() {
            if claims.is_empty() {
                self.claims.remove(&key);
            }
            self.statistics.map_errors += 1;
            return false;
        }
        claims.push_front(slot);
        true
    }

    /// The slot claims the key no longer. If it had it, the next has it now.
    fn give_up(&mut self, key: FlowKey, slot: u32) {
        let Entry::Occupied(mut entry) = self.claims.entry(key) else { return };
        let claims = entry.get_mut();
        let had_it = claims.front() == Some(&slot);
        claims.retain(|claimed| *claimed != slot);
        let next = claims.front().copied();
        if next.is_none() {
            entry.remove();
        }
        let told = match next {
            _ if !had_it => return,
            Some(next) => self.map.insert(&key, next),
            None => self.map.remove(&key),
        };
        if told.is_err() {
            self.statistics.map_errors += 1;
        }
    }
}

/// What a claim to a key stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// A handshake from that address.
    Proven,
    /// A packet with that source.
    Said,
}
