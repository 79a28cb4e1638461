//! What is known of each session in a room. There may be any number of them, so
//! the number of series is bounded: the oldest have them and keep them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::distributions::Distributions;
use super::number::{Count, Measured};
use super::retention::{LastWords, Retention};
use crate::ids::{SessionId, ShardIndex};

/// One session's numbers, written by its shard about once a second.
#[derive(Debug, Default)]
pub struct SessionCount {
    /// Round trip of its path, in microseconds.
    pub rtt_us: Measured,
    /// Frames that did not come from it, of a million that it sent.
    pub loss_rx_ppm: Measured,
    /// Frames that it does not have, of a million that it was sent.
    pub loss_tx_ppm: Measured,
    /// Interarrival jitter as it reports it, of the talker that fares worst.
    pub jitter_us: Measured,
    /// Voice waiting in its jitter buffer, of the talker with the most.
    pub buffer_depth_ms: Measured,
    /// Times its buffers had nothing to play, of all talkers it has heard.
    pub underruns: Measured,
    /// Times they threw voice away.
    pub overruns: Measured,
    /// Frames that came from it.
    pub frames_received: Count,
    /// Frames handed to its connection.
    pub frames_forwarded: Count,
    /// UDP packets made for it, its handshake's included.
    pub packets_sent: Count,
    /// Those that it did not acknowledge in time.
    pub packets_lost: Count,
    /// Times its congestion window was cut.
    pub congestion_events: Count,
    /// Bytes that may be on their way to it.
    pub congestion_window: Measured,
}

/// Who a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// As in the log.
    pub id: SessionId,
    /// Its room's name.
    pub room: Arc<str>,
    /// How others call it.
    pub name: String,
    /// Where its packets come from, in canonical form.
    pub peer: SocketAddr,
    /// The shard it sits on.
    pub shard: ShardIndex,
    /// When it entered the room.
    pub joined: Instant,
    /// What the wall clock said then.
    pub joined_at: SystemTime,
}

/// A session's numbers at one instant. What was not measured is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionReading {
    /// Whose they are.
    pub participant: Participant,
    /// Round trip of its path.
    pub rtt: Option<Duration>,
    /// Share of its own frames that were lost on their way here, 0 to 1, during
    /// the last minute, by their sequence numbers.
    pub loss_rx: Option<f64>,
    /// The same of the frames that it was sent, by its reports.
    pub loss_tx: Option<f64>,
    /// Interarrival jitter that it reports.
    pub jitter: Option<Duration>,
    /// Voice waiting in its jitter buffer.
    pub buffer_depth: Option<Duration>,
    /// Times the buffer had nothing to play.
    pub underruns: Option<u64>,
    /// Times it threw voice away.
    pub overruns: Option<u64>,
    /// Frames that came from it.
    pub frames_received: u64,
    /// Frames handed to its connection.
    pub frames_forwarded: u64,
    /// UDP packets made for it, its handshake's included.
    pub packets_sent: u64,
    /// Those that it did not acknowledge in time (RFC 9002 section 6.1).
    pub packets_lost: u64,
    /// Bytes that may be on their way to it (RFC 9002 section 7).
    pub congestion_window: Option<u64>,
}

impl SessionReading {
    /// The worse of the two losses that are known.
    pub fn loss(&self) -> Option<f64> {
        [self.loss_rx, self.loss_tx].into_iter().flatten().reduce(f64::max)
    }
}

/// The sessions that have series, and how many have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionScrape {
    /// The oldest first, then those that have ended.
    pub shown: Vec<SessionReading>,
    /// Sessions without series because of the cap.
    pub dropped: usize,
}

/// A shard's hold on a session's entry, from [`SessionBook::open`] to
/// [`SessionBook::close`].
#[derive(Debug)]
pub struct SessionHandle {
    order: u64,
    /// The numbers, written by the shard.
    pub count: Arc<SessionCount>,
}

/// All sessions in rooms. Locked when one is seated, moves or ends and while
/// somebody reads; never per packet.
#[derive(Debug)]
pub struct SessionBook {
    /// What holds for all of them together.
    pub distributions: Distributions,
    /// How long those that have ended are shown.
    pub retention: Retention,
    max_series: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Sessions there have been.
    opened: u64,
    /// By age: those opened before come first.
    open: BTreeMap<u64, Entry>,
    /// Those that a scrape will still show, oldest end first.
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Entry {
    participant: Participant,
    count: Arc<SessionCount>,
    /// Whether a scrape has shown it.
    shown: bool,
}

#[derive(Debug)]
struct Ended {
    last: SessionReading,
    words: LastWords,
}

impl Entry {
    fn reading(&self) -> SessionReading {
        let Self { participant, count, .. } = self;
        let micros = |value: &Measured| value.get().map(Duration::from_micros);
        let share = |ppm: &Measured| ppm.get().map(|ppm| ppm as f64 / 1e6);
        SessionReading {
            participant: participant.clone(),
            rtt: micros(&count.rtt_us),
            loss_rx: share(&count.loss_rx_ppm),
            loss_tx: share(&count.loss_tx_ppm),
            jitter: micros(&count.jitter_us),
            buffer_depth: count.buffer_depth_ms.get().map(Duration::from_millis),
            underruns: count.underruns.get(),
            overruns: count.overruns.get(),
            frames_received: count.frames_received.get(),
            frames_forwarded: count.frames_forwarded.get(),
            packets_sent: count.packets_sent.get(),
            packets_lost: count.packets_lost.get(),
            congestion_window: count.congestion_window.get(),
        }
    }
}

impl SessionBook {
    /// At most `max_series` sessions get series of their own, which are shown for
    /// `keep` after their end.
    pub fn new(max_series: usize, keep: Duration) -> Self {
        Self {
            distributions: Distributions::default(),
            retention: Retention::new(keep),
            max_series: AtomicUsize::new(max_series),
            state: Mutex::default(),
        }
    }

    /// Changes how many sessions have series.
    pub fn set_max_series(&self, max_series: usize) {
        self.max_series.store(max_series, Ordering::Relaxed);
    }

    fn max_series(&self) -> usize {
        self.max_series.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere is no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session that was seated.
    pub fn open(&self, participant: Participant) -> SessionHandle {
        let count = Arc::new(SessionCount::default());
        let mut state = self.state();
        let order = state.opened;
        state.opened += 1;
        state.open.insert(order, Entry { participant, count: count.clone(), shown: false });
        SessionHandle { order, count }
    }

    /// Notes that a session's packets come from another address.
    pub fn moved(&self, handle: &SessionHandle, peer: SocketAddr) {
        if let Some(entry) = self.state().open.get_mut(&handle.order) {
            entry.participant.peer = peer;
        }
    }

    /// Ends a session's entry.
    pub fn close(&self, handle: SessionHandle, now: Instant) {
        let mut state = self.state();
        let has_place = state.open.len() <= self.max_series();
        let Some(entry) = state.open.remove(&handle.order) else { return };
        if has_place || entry.shown {
            let last = entry.reading();
            state.ended.push_back(Ended { last, words: LastWords::default() });
        }
        // Without a scrape they would grow for ever.
        let surplus = state.ended.len().saturating_sub(self.max_series());
        self.evict(&mut state.ended, surplus, now);
    }

    /// The sessions that have series. Ended ones are shown for some time, unless living
    /// ones need the place.
    pub fn scrape(&self, now: Instant) -> SessionScrape {
        let mut state = self.state();
        let State { open, ended, .. } = &mut *state;
        let living = open.values_mut().take(self.max_series()).map(|entry| {
            entry.shown = true;
            entry.reading()
        });
        let mut shown: Vec<_> = living.collect();
        ended.retain(|ended| !ended.words.are_over(now));
        let surplus = (shown.len() + ended.len()).saturating_sub(self.max_series());
        self.evict(ended, surplus, now);
        for ended in ended.iter_mut() {
            self.retention.shown(&mut ended.words, now);
            shown.push(ended.last.clone());
        }
        SessionScrape { shown, dropped: open.len().saturating_sub(self.max_series()) }
    }

    /// Forgets those that ended first.
    fn evict(&self, ended: &mut VecDeque<Ended>, surplus: usize, now: Instant) {
        let evicted = ended.drain(..surplus);
        evicted.for_each(|ended| self.retention.evicted(ended.words, now));
    }

    /// All sessions in rooms now, the oldest first.
    pub fn list(&self) -> Vec<SessionReading> {
        self.state().open.values().map(Entry::reading).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(120);

    fn open(book: &SessionBook, number: u64) -> SessionHandle {
        book.open(Participant {
            id: SessionId(number),
            room: "a".into(),
            name: format!("client {number}"),
            peer: ([10, 0, 0, 1], 4433).into(),
            shard: 0,
            joined: Instant::now(),
            joined_at: SystemTime::UNIX_EPOCH,
        })
    }

    fn shown(book: &SessionBook) -> (Vec<u64>, usize) {
        let SessionScrape { shown, dropped } = book.scrape(Instant::now());
        (shown.iter().map(|reading| reading.participant.id.0).collect(), dropped)
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let book = SessionBook::new(9, KEEP);
        let handle = open(&book, 1);
        let reading = &book.list()[0];
        assert_eq!((reading.rtt, reading.underruns), (None, None));
        handle.count.rtt_us.set(Some(80_500));
        assert_eq!(book.list()[0].rtt, Some(Duration::from_micros(80_500)));
        for (rx, tx, worse) in [
            (None, None, None),
            (Some(50_000), None, Some(0.05)),
            (None, Some(200_000), Some(0.2)),
            (Some(0), Some(330_000), Some(0.33)),
            (Some(250_000), Some(0), Some(0.25)),
        ] {
            handle.count.loss_rx_ppm.set(rx);
            handle.count.loss_tx_ppm.set(tx);
            let reading = &book.list()[0];
            assert_eq!(reading.loss(), worse);
            let share = |ppm: Option<u64>| ppm.map(|ppm| ppm as f64 / 1e6);
            assert_eq!((reading.loss_rx, reading.loss_tx), (share(rx), share(tx)));
        }
    }

    /// Two scrape every 15 s, and one every minute.
    #[test]
    fn all_who_scrape_find_the_last_values_of_an_ended_session() {
        let book = SessionBook::new(9, KEEP);
        let handle = open(&book, 1);
        handle.count.frames_received.set(7);
        let start = Instant::now();
        book.close(handle, start);
        assert_eq!(book.list(), []);
        for (seconds, expected) in
            [(1, 1), (8, 1), (16, 1), (23, 1), (61, 1), (120, 1), (121, 0), (180, 0)]
        {
            let SessionScrape { shown, .. } = book.scrape(start + Duration::from_secs(seconds));
            let frames = shown.iter().map(|reading| reading.frames_received).collect::<Vec<_>>();
            assert_eq!(frames, vec![7; expected], "{seconds} s after the end");
        }
        assert_eq!(book.retention.cut_short(), 0);
    }

    #[test]
    fn the_oldest_have_series_and_living_ones_come_before_ended_ones() {
        let book = SessionBook::new(2, KEEP);
        let now = Instant::now();
        let [first, second, _third, last] = [0, 1, 2, 3].map(|number| open(&book, number));
        assert_eq!(shown(&book), (vec![0, 1], 2));
        book.close(last, now);
        assert_eq!(shown(&book), (vec![0, 1], 1), "one without series left none behind");
        book.close(first, now);
        assert_eq!(shown(&book), (vec![1, 2], 0), "the next has its place");
        assert_eq!(book.retention.cut_short(), 1, "its last values were not shown");
        book.close(second, now);
        assert_eq!(shown(&book), (vec![2, 1], 0));
        assert_eq!(book.list().len(), 1);
    }

    #[test]
    fn ended_sessions_are_bounded_without_any_scrape() {
        let book = SessionBook::new(8, KEEP);
        for number in 0..1000 {
            let handle = open(&book, number);
            book.close(handle, Instant::now());
        }
        assert_eq!(book.state().ended.len(), 8);
        assert_eq!(book.retention.cut_short(), 992);
        assert_eq!(shown(&book), ((992..1000).collect(), 0));
    }

    #[test]
    fn the_list_knows_where_a_session_is_now() {
        let book = SessionBook::new(1, KEEP);
        let handle = open(&book, 1);
        let moved = ([10, 0, 0, 1], 4434).into();
        book.moved(&handle, moved);
        assert_eq!(book.list()[0].participant.peer, moved);
    }
}
