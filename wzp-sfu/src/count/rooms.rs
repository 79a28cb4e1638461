//! Forwarding counts per room. Room names are chosen by strangers, so the
//! number of series is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use wzp_telemetry::settings::RoomLabel;
use wzp_untrusted::text;

use super::number::Count;
use super::retention::{LastWords, Retention};

/// Label of the series shared by all rooms above the cap.
pub const OVERFLOW: &str = "_overflow";

/// Label of the one series that there is without labels of rooms.
pub const ALL: &str = "_all";

/// Counts of a series that wait to be folded into one. The kernel's ledger holds each for
/// a second at most.
const MOST_CLOSING: usize = 16;

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
    /// When this count began.
    pub began: Option<SystemTime>,
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
    /// How long rooms that have ended are shown.
    pub retention: Retention,
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
    /// Once it has ended.
    words: LastWords,
}

impl Series {
    /// Adds a shard's count; the first begins the series.
    fn open(&mut self, count: Arc<RoomCount>) {
        self.closed.began.get_or_insert_with(SystemTime::now);
        self.words = LastWords::default();
        self.open.push(count);
    }

    fn total(&self, room: Arc<str>) -> RoomTotal {
        let mut total = RoomTotal { room, ..self.closed.clone() };
        self.open.iter().chain(&self.closing).for_each(|count| total.add(count));
        total
    }

    fn close(&mut self, count: &Arc<RoomCount>) {
        let of_shard = |open: &Arc<RoomCount>| Arc::ptr_eq(open, count);
        self.closing.extend(self.open.extract_if(.., |open| of_shard(open)));
        // Rooms come and go, whether anybody scrapes or not.
        if self.closing.len() >= MOST_CLOSING {
            self.settle();
        }
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
    /// At most `max_series` rooms get series of their own, named so, which are shown
    /// for `keep` after their end.
    pub fn new(max_series: usize, label: RoomLabel, keep: Duration) -> Self {
        Self {
            retention: Retention::new(keep),
            max_series: AtomicUsize::new(max_series),
            label,
            hashed_by: RandomState::new(),
            state: Mutex::default(),
        }
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
            let forgotten = state.forget_oldest_ended();
            forgotten.into_iter().for_each(|series| {
                self.retention.evicted(series.words, Instant::now());
            });
        }
        let own_series = state.series.contains_key(room) || state.series.len() < max_series;
        if own_series {
            // A room that comes back is no longer among the ended ones.
            state.ended.retain(|ended| ended != room);
            state.series.entry(room.clone()).or_default().open(count.clone());
        } else {
            state.overflowed = true;
            state.overflow.open(count.clone());
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

    /// Totals for one scrape. Ended rooms are shown for some time.
    pub fn scrape(&self, now: Instant) -> Vec<RoomTotal> {
        let mut state = self.state();
        let State { series, ended, overflow, overflowed } = &mut *state;
        series.values_mut().for_each(Series::settle);
        overflow.settle();
        series.retain(|_, series| !(series.has_ended() && series.words.are_over(now)));
        ended.retain(|room| series.contains_key(room));
        for series in series.values_mut().filter(|series| series.has_ended()) {
            self.retention.shown(&mut series.words, now);
        }
        let totals = series.iter().map(|(room, series)| series.total(room.clone()));
        let overflow = overflowed.then(|| overflow.total(OVERFLOW.into()));
        totals.chain(overflow).collect()
    }

    /// Rooms, counted once per shard, open now without a series of their own.
    pub fn overflowing(&self) -> usize {
        self.state().overflow.open.len()
    }
}

impl State {
    /// Makes way for a living room.
    fn forget_oldest_ended(&mut self) -> Option<Series> {
        let room = self.ended.pop_front()?;
        self.series.remove(&room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(120);

    fn shown(counts: &RoomCounts) -> Vec<(String, u64)> {
        shown_at(counts, Instant::now())
    }

    fn shown_at(counts: &RoomCounts, now: Instant) -> Vec<(String, u64)> {
        counts
            .scrape(now)
            .into_iter()
            .map(|total| (total.room.to_string(), total.packets))
            .collect()
    }

    /// Two scrape every 15 s, and one every minute.
    #[test]
    fn shards_of_a_room_share_one_series_that_outlives_it_for_all_who_scrape() {
        let counts = RoomCounts::new(10, RoomLabel::Name, KEEP);
        let (one, two) = (counts.open(&"a".into()), counts.open(&"a".into()));
        one.count.packets.add(3);
        two.count.packets.add(4);
        counts.close(one);
        assert_eq!(shown(&counts), [("a".into(), 7)]);
        counts.close(two);
        let start = Instant::now();
        for seconds in [1, 8, 16, 23, 61, 120] {
            let shown = shown_at(&counts, start + Duration::from_secs(seconds));
            assert_eq!(shown, [("a".into(), 7)], "{seconds} s after the end");
        }
        assert_eq!(shown_at(&counts, start + Duration::from_secs(121)), []);
        assert_eq!(counts.retention.cut_short(), 0);
    }

    #[test]
    fn what_ends_again_and_again_takes_no_more_memory_though_nobody_scrapes() {
        let counts = RoomCounts::new(1, RoomLabel::Name, KEEP);
        let _other = counts.open(&"a".into());
        for round in 1..=1000 {
            for room in ["a", "b"] {
                let handle = counts.open(&room.into());
                handle.count.packets.add(1);
                counts.close(handle);
            }
            let state = counts.state();
            for series in state.series.values().chain([&state.overflow]) {
                assert!(series.closing.len() <= MOST_CLOSING, "round {round}");
            }
        }
        assert_eq!(shown(&counts), [("a".into(), 1000), (OVERFLOW.into(), 1000)]);
    }

    #[test]
    fn a_room_that_comes_back_within_its_time_does_not_end_with_it() {
        let counts = RoomCounts::new(10, RoomLabel::Name, KEEP);
        let start = Instant::now();
        counts.close(counts.open(&"a".into()));
        assert_eq!(shown_at(&counts, start).len(), 1);
        let room = counts.open(&"a".into());
        assert_eq!(shown_at(&counts, start + KEEP).len(), 1);
        counts.close(room);
        for (after, expected) in [(KEEP, 1), (KEEP * 2 - Duration::from_secs(1), 1), (KEEP * 2, 0)]
        {
            assert_eq!(shown_at(&counts, start + after).len(), expected, "{after:?}");
        }
    }

    #[test]
    fn room_that_comes_back_goes_on_counting() {
        let counts = RoomCounts::new(10, RoomLabel::Name, KEEP);
        for round in 1..=3 {
            let room = counts.open(&"a".into());
            room.count.packets.add(5);
            counts.close(room);
            assert_eq!(shown(&counts), [("a".into(), 5 * round)]);
        }
    }

    #[test]
    fn rooms_above_the_cap_share_a_series_that_never_goes_back() {
        let counts = RoomCounts::new(1, RoomLabel::Name, KEEP);
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
        assert_eq!(counts.retention.cut_short(), 1);
    }

    #[test]
    fn a_room_finds_its_own_total_whatever_its_label() {
        for (label, expected) in
            [(RoomLabel::Name, Some(3)), (RoomLabel::Hash, Some(3)), (RoomLabel::Off, None)]
        {
            let counts = RoomCounts::new(2, label, KEEP);
            counts.open(&"a".into()).count.packets.add(3);
            counts.open(&"b".into()).count.packets.add(4);
            let packets = |room: &str| counts.total(&room.into()).map(|total| total.packets);
            counts.open(&"c".into()).count.packets.add(5);
            assert_eq!((packets("a"), packets("c")), (expected, None), "{label:?}");
        }
    }

    #[test]
    fn no_room_can_pass_for_another_or_for_those_above_the_cap() {
        let counts = RoomCounts::new(7, RoomLabel::Name, KEEP);
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
        let counts = RoomCounts::new(8, RoomLabel::Name, KEEP);
        for number in 0..1000 {
            let room = counts.open(&format!("room {number}").into());
            assert!(room.own_series);
            counts.close(room);
        }
        assert!(counts.state().series.len() <= 8 && counts.state().ended.len() <= 8);
        assert_eq!(counts.retention.cut_short(), 992);
    }
}
