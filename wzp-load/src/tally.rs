//! What one thread has counted, and how several become one.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;

use super::ear::Counts;
use super::plan::Seat;
use wzp_command::exit::Exit;

/// Shortest time told apart, in nanoseconds.
const FINEST: u64 = 1_000;

/// Longest time told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// For times in nanoseconds, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are right by inspection; any other histogram is as good.
    Histogram::new_with_bounds(FINEST, LONGEST, 3).unwrap_or_else(|_| {
        unreachable!("the bounds of a histogram are constants that are in order")
    })
}

/// Sessions by why they failed.
#[derive(Debug, Default)]
pub(crate) struct Reasons(BTreeMap<String, (u64, Exit)>);

impl Reasons {
    pub(crate) fn add(&mut self, reason: String, exit: Exit) {
        self.0.entry(reason).or_insert((0, exit)).0 += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (reason, (count, exit)) in other.0 {
            self.0.entry(reason).or_insert((0, exit)).0 += count;
        }
    }

    /// Sessions in all.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    /// Sessions for each reason.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(reason, (count, _))| (reason.clone(), *count)).collect()
    }

    /// The most frequent reason's exit code.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.0.values().max_by_key(|(count, _)| *count).map(|(_, exit)| *exit)
    }
}

/// One session that was in its room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionTally {
    pub(crate) seat: Seat,
    /// Frames it sent in the measured time.
    pub(crate) sent: u64,
    /// Frames sent in the measured time that it received.
    pub(crate) counts: Counts,
}

/// What one thread, or all of them, have counted.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) sessions: Vec<SessionTally>,
    pub(crate) join_failures: Reasons,
    pub(crate) sessions_lost: Reasons,
    /// From opening a socket to the end of the member list, in nanoseconds.
    pub(crate) join: Histogram<u64>,
    /// From sending to receiving, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// How late talkers' clocks were, in nanoseconds.
    pub(crate) lag: Histogram<u64>,
    pub(crate) traffic: Traffic,
    /// CPU time in the measured time, as a share of it, of the busiest thread.
    pub(crate) busy: f64,
    /// Datagrams that are not frames of this run.
    pub(crate) foreign: u64,
    /// Frames that the relay says it dropped.
    pub(crate) refused: u64,
}

/// Totals of QUIC's own statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// UDP datagrams.
    pub(crate) packets_sent: u64,
    /// UDP datagrams.
    pub(crate) packets_received: u64,
    /// QUIC DATAGRAM frames.
    pub(crate) frames_received: u64,
}

impl Traffic {
    /// What came after `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            packets_sent: self.packets_sent.saturating_sub(earlier.packets_sent),
            packets_received: self.packets_received.saturating_sub(earlier.packets_received),
            frames_received: self.frames_received.saturating_sub(earlier.frames_received),
        }
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.packets_sent += other.packets_sent;
        self.packets_received += other.packets_received;
        self.frames_received += other.frames_received;
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sessions: Vec::new(),
            join_failures: Reasons::default(),
            sessions_lost: Reasons::default(),
            join: histogram(),
            latency: histogram(),
            lag: histogram(),
            traffic: Traffic::default(),
            busy: 0.0,
            foreign: 0,
            refused: 0,
        }
    }
}

/// Frames over all sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) sent: u64,
    /// For each frame sent, the other members of the room.
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    /// Frames that did not come, in percent, of each session that was to
    /// receive any; sorted.
    pub(crate) loss_pct: Vec<f64>,
}

impl Tally {
    /// Adds what another thread has counted.
    pub(crate) fn merge(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.join_failures.merge(other.join_failures);
        self.sessions_lost.merge(other.sessions_lost);
        self.join += other.join;
        self.latency += other.latency;
        self.lag += other.lag;
        self.traffic.add(other.traffic);
        self.busy = self.busy.max(other.busy);
        self.foreign += other.foreign;
        self.refused += other.refused;
    }

    /// What was to be received and what was. To be asked when all threads are
    /// merged: members of one room may be in several.
    pub(crate) fn delivery(&self) -> Delivery {
        let mut rooms: HashMap<u32, u64> = HashMap::new();
        for session in &self.sessions {
            *rooms.entry(session.seat.room).or_default() += session.sent;
        }
        let mut delivery = Delivery::default();
        for session in &self.sessions {
            let in_room = rooms.get(&session.seat.room).copied().unwrap_or_default();
            let expected = in_room - session.sent;
            let counts = session.counts;
            delivery.sent += session.sent;
            delivery.expected += expected;
            delivery.received += counts.received;
            delivery.duplicates += counts.duplicates;
            delivery.reordered += counts.reordered;
            if expected > 0 {
                let lost = expected.saturating_sub(counts.received);
                delivery.loss_pct.push(100.0 * lost as f64 / expected as f64);
            }
        }
        delivery.loss_pct.sort_by(f64::total_cmp);
        delivery
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(room: u32, member: u32, sent: u64, received: u64) -> SessionTally {
        let seat = Seat { number: 0, room, member, talks: sent > 0 };
        let counts = Counts { received, duplicates: 1, reordered: 2 };
        SessionTally { seat, sent, counts }
    }

    fn tally(sessions: Vec<SessionTally>) -> Tally {
        Tally { sessions, ..Tally::default() }
    }

    #[test]
    fn each_frame_is_expected_by_the_others_of_its_room_whatever_their_thread() {
        let mut all = tally(vec![session(0, 0, 50, 50), session(0, 2, 0, 75)]);
        all.merge(tally(vec![session(0, 1, 50, 40), session(1, 0, 10, 0)]));
        let expected = Delivery {
            sent: 110,
            expected: 50 + 100 + 50,
            received: 165,
            duplicates: 4,
            reordered: 8,
            // The last one is alone in its room and has nothing to receive.
            loss_pct: vec![0.0, 20.0, 25.0],
        };
        assert_eq!(all.delivery(), expected);
    }

    #[test]
    fn reasons_add_up_and_the_most_frequent_gives_the_exit_code() {
        let mut all = Tally::default();
        let counts = [("room_full", Exit::Refused, 3), ("no answer", Exit::Connect, 5)];
        for (reason, exit, count) in counts {
            for _ in 0..count {
                let mut other = Tally::default();
                other.join_failures.add(reason.to_owned(), exit);
                all.merge(other);
            }
        }
        assert_eq!(all.join_failures.total(), 8);
        assert_eq!(all.join_failures.exit(), Some(Exit::Connect));
        let counts = all.join_failures.counts();
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [5, 3]);
        assert_eq!(all.sessions_lost.exit(), None);
    }

    #[test]
    fn times_are_kept_to_three_digits_and_cut_at_a_minute() {
        let mut times = histogram();
        for micros in [37, 1_000, 250_000] {
            times.saturating_record(micros * 1_000);
        }
        times.saturating_record(u64::MAX);
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        for (quantile, micros) in [(0.25, 37.0), (0.5, 1_000.0), (0.75, 250_000.0)] {
            assert!((at(quantile) / micros - 1.0).abs() < 0.02, "{quantile}: {}", at(quantile));
        }
        assert!((59e6..61e6).contains(&at(1.0)), "{}", at(1.0));
    }
}
