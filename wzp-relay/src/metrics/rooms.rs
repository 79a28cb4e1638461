//! Forwarding counts per room. Room names are chosen by strangers, so the
//! number of series is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wzp_telemetry::settings::RoomLabel;
use wzp_untrusted::text;

use super::count::Count;

/// Label of the series shared by all rooms above the cap.
pub const OVERFLOW: &str = "_overflow";

/// Label of the one series that there is without labels of rooms.
pub const ALL: &str = "_all";

/// Scrapes that still show a room after it ended.
const SCRAPES_AFTER_END: u8 = 2;

/// What was forwarded to the members of one room on one shard.
#[derive(Debug, Default)]
pub struct RoomCount {
    /// Media datagrams handed to receivers' connections.
    pub packets: Count,
    /// Their bytes, headers included.
    pub bytes: Count,
    /// Packets to the members' addresses, counted by the kernel. Written by
    /// whoever holds the kernel's ledger.
    pub wire_packets: Count,
    /// Their bytes, link headers included.
    pub wire_bytes: Count,
}

/// A shard's own count of a room, from [`RoomCounts::open`] to
/// [`RoomCounts::close`].
#[derive(Debug)]
pub struct RoomHandle {
    room: Arc<str>,
    own_series: bool,
    /// The numbers, written by the shard.
    pub count: Arc<RoomCount>,
}

/// Totals of one room's series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomTotal {
    /// The room's label, or [`OVERFLOW`].
    pub room: Arc<str>,
    /// Media datagrams forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets to the members, counted by the kernel.
    pub wire_packets: u64,
    /// Their bytes.
    pub wire_bytes: u64,
}

impl RoomTotal {
    fn add(&mut self, count: &RoomCount) {
        self.packets += count.packets.get();
        self.bytes += count.bytes.get();
        self.wire_packets += count.wire_packets.get();
        self.wire_bytes += count.wire_bytes.get();
    }
}

/// All rooms' counts. Locked when a shard opens or closes a room and while a
/// scrape adds up; never per packet.
#[derive(Debug)]
pub struct RoomCounts {
    max_series: AtomicUsize,
    label: RoomLabel,
    /// Makes [`RoomLabel::Hash`], another one in each process.
    hashed_by: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    series: BTreeMap<Arc<str>, Series>,
    /// Rooms without members that still have a series, oldest end first.
    ended: VecDeque<Arc<str>>,
    /// What the rooms above the cap share, and how many have ever done so.
    overflow: Series,
    overflowed: bool,
}

#[derive(Debug, Default)]
struct Series {
    open: Vec<Arc<RoomCount>>,
    /// Closed by their shard, but the kernel's ledger may still add to them.
    closing: Vec<Arc<RoomCount>>,
    closed: RoomTotal,
    scrapes_left: u8,
}

impl Series {
    fn total(&self, room: Arc<str>) -> RoomTotal {
        let mut total = RoomTotal { room, ..self.closed.clone() };
        self.open.iter().chain(&self.closing).for_each(|count| total.add(count));
        total
    }

    fn close(&mut self, count: &Arc<RoomCount>) {
        let of_shard = |open: &Arc<RoomCount>| Arc::ptr_eq(open, count);
        self.closing.extend(self.open.extract_if(.., |open| of_shard(open)));
    }

    /// Folds what nobody adds to any more.
    fn settle(&mut self) {
        for count in self.closing.extract_if(.., |count| Arc::strong_count(count) == 1) {
            self.closed.add(&count);
        }
    }

    fn has_ended(&self) -> bool {
        self.open.is_empty() && self.closing.is_empty()
    }
}

impl RoomCounts {
    /// At most `max_series` rooms get series of their own, named so.
    pub fn new(max_series: usize, label: RoomLabel) -> Self {
        let max_series = AtomicUsize::new(max_series);
        Self { max_series, label, hashed_by: RandomState::new(), state: Mutex::default() }
    }

    /// Changes how many rooms have series of their own. Those that have one keep
    /// it.
    pub fn set_max_series(&self, max_series: usize) {
        self.max_series.store(max_series, Ordering::Relaxed);
    }

    /// What a room is called in labels.
    fn label(&self, room: &Arc<str>) -> Arc<str> {
        match self.label {
            // Looks like no other room's: a name that is written so has `\u{5c}u{5f}…`.
            RoomLabel::Name if [OVERFLOW, ALL].contains(&&**room) => {
                format!("\\u{{5f}}{}", &room[1..]).into()
            }
            RoomLabel::Name => text::name(room).to_string().into(),
            RoomLabel::Hash => format!("{:016x}", self.hashed_by.hash_one(room)).into(),
            RoomLabel::Off => ALL.into(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere is no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard's count for a room that got its first member there.
    pub fn open(&self, room: &Arc<str>) -> RoomHandle {
        let count = Arc::new(RoomCount::default());
        let max_series = self.max_series.load(Ordering::Relaxed);
        let room = &self.label(room);
        let mut state = self.state();
        if !state.series.contains_key(room) && state.series.len() >= max_series {
            state.forget_oldest_ended();
        }
        let own_series = state.series.contains_key(room) || state.series.len() < max_series;
        if own_series {
            // A room that comes back is no longer among the ended ones.
            state.ended.retain(|ended| ended != room);
            state.series.entry(room.clone()).or_default().open.push(count.clone());
        } else {
            state.overflowed = true;
            state.overflow.open.push(count.clone());
        }
        RoomHandle { room: room.clone(), own_series, count }
    }

    /// Ends a shard's count: its last member there left.
    pub fn close(&self, handle: RoomHandle) {
        let mut state = self.state();
        if !handle.own_series {
            state.overflow.close(&handle.count);
            return;
        }
        let Some(series) = state.series.get_mut(&handle.room) else { return };
        series.close(&handle.count);
        if series.open.is_empty() {
            series.scrapes_left = SCRAPES_AFTER_END;
            state.ended.push_back(handle.room.clone());
        }
    }

    /// Totals of a room, if it has a series of its own.
    pub fn total(&self, room: &Arc<str>) -> Option<RoomTotal> {
        if self.label == RoomLabel::Off {
            return None;
        }
        let label = self.label(room);
        self.state().series.get(&label).map(|series| series.total(label.clone()))
    }

    /// Totals for one scrape. Ended rooms are shown a last time or two.
    pub fn scrape(&self) -> Vec<RoomTotal> {
        let mut state = self.state();
        state.series.values_mut().for_each(Series::settle);
        state.overflow.settle();
        let mut totals = state.totals();
        if state.overflowed {
            totals.push(state.overflow.total(OVERFLOW.into()));
        }
        state.series.retain(|_, series| {
            let ended = series.has_ended();
            series.scrapes_left = series.scrapes_left.saturating_sub(u8::from(ended));
            !ended || series.scrapes_left > 0
        });
        let State { series, ended, .. } = &mut *state;
        ended.retain(|room| series.contains_key(room));
        totals
    }

    /// Rooms, counted once per shard, open now without a series of their own.
    pub fn overflowing(&self) -> usize {
        self.state().overflow.open.len()
    }
}

impl State {
    fn totals(&self) -> Vec<RoomTotal> {
        self.series.iter().map(|(room, series)| series.total(room.clone())).collect()
    }

    /// Makes way for a living room.
    fn forget_oldest_ended(&mut self) {
        if let Some(room) = self.ended.pop_front() {
            self.series.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(counts: &RoomCounts) -> Vec<(String, u64)> {
        counts.scrape().into_iter().map(|total| (total.room.to_string(), total.packets)).collect()
    }

    #[test]
    fn shards_of_a_room_share_one_series_that_outlives_it_by_two_scrapes() {
        let counts = RoomCounts::new(10, RoomLabel::Name);
        let (one, two) = (counts.open(&"a".into()), counts.open(&"a".into()));
        one.count.packets.add(3);
        two.count.packets.add(4);
        counts.close(one);
        assert_eq!(shown(&counts), [("a".into(), 7)]);
        counts.close(two);
        assert_eq!(shown(&counts), [("a".into(), 7)]);
        assert_eq!(shown(&counts), [("a".into(), 7)]);
        assert_eq!(shown(&counts), []);
    }

    #[test]
    fn room_that_comes_back_goes_on_counting() {
        let counts = RoomCounts::new(10, RoomLabel::Name);
        for round in 1..=3 {
            let room = counts.open(&"a".into());
            room.count.packets.add(5);
            counts.close(room);
            assert_eq!(shown(&counts), [("a".into(), 5 * round)]);
        }
    }

    #[test]
    fn rooms_above_the_cap_share_a_series_that_never_goes_back() {
        let counts = RoomCounts::new(1, RoomLabel::Name);
        let (a, b) = (counts.open(&"a".into()), counts.open(&"b".into()));
        b.count.packets.add(2);
        assert_eq!(counts.overflowing(), 1);
        counts.close(b);
        assert_eq!(counts.overflowing(), 0);
        for _ in 0..4 {
            assert_eq!(shown(&counts), [("a".into(), 0), (OVERFLOW.into(), 2)]);
        }
        counts.close(a);
        counts.open(&"c".into());
        assert_eq!(shown(&counts), [("c".into(), 0), (OVERFLOW.into(), 2)], "a made way for c");
    }

    #[test]
    fn a_room_finds_its_own_total_whatever_its_label() {
        for (label, expected) in
            [(RoomLabel::Name, Some(3)), (RoomLabel::Hash, Some(3)), (RoomLabel::Off, None)]
        {
            let counts = RoomCounts::new(2, label);
            counts.open(&"a".into()).count.packets.add(3);
            counts.open(&"b".into()).count.packets.add(4);
            let packets = |room: &str| counts.total(&room.into()).map(|total| total.packets);
            counts.open(&"c".into()).count.packets.add(5);
            assert_eq!((packets("a"), packets("c")), (expected, None), "{label:?}");
        }
    }

    #[test]
    fn no_room_can_pass_for_another_or_for_those_above_the_cap() {
        let counts = RoomCounts::new(7, RoomLabel::Name);
        let rooms = [
            ("_overflow", r"\u{5f}overflow"),
            (r"\u{5f}overflow", r"\u{5c}u{5f}overflow"),
            ("_all", r"\u{5f}all"),
            ("lob\u{200b}by", r"lob\u{200b}by"),
            (r"lob\u{200b}by", r"lob\u{5c}u{200b}by"),
            ("lobby", "lobby"),
            ("\u{1b}[2J\0\r", r"\u{1b}[2J\u{0}\u{d}"),
        ];
        let expected = rooms.into_iter().zip(1..).map(|((room, label), packets)| {
            counts.open(&room.into()).count.packets.add(packets);
            assert_eq!(counts.total(&room.into()).unwrap().packets, packets, "{room:?}");
            (label.to_owned(), packets)
        });
        let mut expected: Vec<_> = expected.collect();
        assert_eq!(counts.overflowing(), 0);
        counts.open(&"above the cap".into()).count.packets.add(100);
        expected.sort();
        expected.push((OVERFLOW.into(), 100));
        assert_eq!(shown(&counts), expected);
    }

    #[test]
    fn ended_rooms_are_bounded_without_any_scrape() {
        let counts = RoomCounts::new(8, RoomLabel::Name);
        for number in 0..1000 {
            let room = counts.open(&format!("room {number}").into());
            assert!(room.own_series);
            counts.close(room);
        }
        assert!(counts.state().series.len() <= 8 && counts.state().ended.len() <= 8);
    }
}
