//! What one session hears: which frames came, which came twice or out of
//! order, and what it reports of them to the relay.

use std::time::Duration;

use wzp_proto::control::{MAX_REPORT_SOURCES, ReceiverReport, SourceReport};
use wzp_proto::settling::Settling;

use super::frame::Frame;

/// The relay hears of those of whom a frame came in this time.
const HEARD_LATELY: Duration = Duration::from_secs(5);

/// The frames of all talkers of a room.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// By talker of the room.
    streams: Vec<Option<Stream>>,
    pub(crate) counts: Counts,
}

/// Frames sent in the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Each counted once.
    pub(crate) received: u64,
    /// Frames that had come before.
    pub(crate) duplicates: u64,
    /// Those that came after one that was sent later.
    pub(crate) reordered: u64,
}

impl Ear {
    /// For a room of so many talkers.
    pub(crate) fn new(talkers: u32) -> Self {
        Self { streams: vec![None; talkers as usize], counts: Counts::default() }
    }

    /// A frame came at `now`. Whether it is new and `counted`.
    pub(crate) fn hear(&mut self, frame: &Frame, now: u64, counted: bool) -> bool {
        let Some(stream) = self.streams.get_mut(frame.member as usize) else { return false };
        let arrival = match stream {
            Some(stream) => stream.hear(frame, now),
            None => {
                *stream = Some(Stream::new(frame, now));
                Arrival::InOrder
            }
        };
        if counted {
            match arrival {
                Arrival::InOrder => self.counts.received += 1,
                Arrival::OutOfOrder => {
                    self.counts.received += 1;
                    self.counts.reordered += 1;
                }
                Arrival::Again => self.counts.duplicates += 1,
            }
        }
        counted && arrival != Arrival::Again
    }

    /// What a client tells the relay once a second; `None` if it has heard nobody
    /// lately.
    pub(crate) fn report(&self, now: u64) -> Option<ReceiverReport> {
        let lately = |stream: &&Stream| {
            Duration::from_nanos(now.saturating_sub(stream.latest)) < HEARD_LATELY
        };
        let heard = self.streams.iter().flatten().filter(lately).take(MAX_REPORT_SOURCES);
        let sources: Vec<_> = heard.map(|stream| stream.report(now)).collect();
        (!sources.is_empty()).then_some(ReceiverReport { sources })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    InOrder,
    OutOfOrder,
    Again,
}

/// The frames of one talker.
#[derive(Clone, Debug)]
struct Stream {
    sender_id: u16,
    first: u32,
    highest: u32,
    settling: Settling,
    /// Which of the 64 up to `highest` came, that one in the lowest bit (the
    /// anti-replay window of RFC 4303 section 3.4.3).
    seen: u64,
    /// Frames, each counted once.
    came: u32,
    /// When the latest frame came, in nanoseconds.
    latest: u64,
    /// Of that frame, in nanoseconds.
    transit: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1), in nanoseconds.
    jitter: u64,
}

impl Stream {
    const fn new(frame: &Frame, now: u64) -> Self {
        Self {
            sender_id: frame.sender_id,
            first: frame.sequence,
            highest: frame.sequence,
            settling: Settling::new(Duration::from_nanos(now), frame.sequence),
            seen: 1,
            came: 1,
            latest: now,
            transit: now.saturating_sub(frame.sent),
            jitter: 0,
        }
    }

    fn hear(&mut self, frame: &Frame, now: u64) -> Arrival {
        self.settling.advance(Duration::from_nanos(now), self.highest);
        let ahead = frame.sequence.wrapping_sub(self.highest);
        let arrival = if ahead == 0 {
            Arrival::Again
        } else if ahead <= u32::MAX / 2 {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = frame.sequence;
            Arrival::InOrder
        } else {
            // One so old that nobody knows is taken for new: QUIC delivers no
            // datagram twice.
            let bit = 1u64.checked_shl(ahead.wrapping_neg()).unwrap_or(0);
            if self.seen & bit != 0 {
                Arrival::Again
            } else {
                self.seen |= bit;
                Arrival::OutOfOrder
            }
        };
        if arrival != Arrival::Again {
            self.came += 1;
            self.latest = now;
            let transit = now.saturating_sub(frame.sent);
            let difference = transit.abs_diff(self.transit);
            self.transit = transit;
            self.jitter = self.jitter - self.jitter / 16 + difference / 16;
        }
        arrival
    }

    /// Of the frames of which it is settled whether they came.
    fn report(&self, now: u64) -> SourceReport {
        let through = { self.settling }.advance(Duration::from_nanos(now), self.highest);
        let open = self.highest.wrapping_sub(through);
        let came_later = self.seen & 1u64.checked_shl(open).map_or(u64::MAX, |bit| bit - 1);
        let came = self.came.saturating_sub(came_later.count_ones());
        let expected = through.wrapping_sub(self.first).wrapping_add(1);
        let jitter = Duration::from_nanos(self.jitter).as_micros();
        SourceReport {
            sender_id: self.sender_id.into(),
            frames_expected: expected,
            frames_lost: expected.saturating_sub(came),
            through_sequence: Some(through),
            jitter_us: u32::try_from(jitter).unwrap_or(u32::MAX),
            ..SourceReport::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(member: u32, sequence: u32) -> Frame {
        Frame {
            sender_id: 10 + member as u16,
            sequence,
            sent: u64::from(sequence) * 100,
            run: 1,
            member,
        }
    }

    #[test]
    fn every_frame_is_counted_once_in_any_order() {
        let cases: [(&[u32], _); 7] = [
            (&[0, 1, 2], (3, 0, 0)),
            (&[0, 2, 1, 3], (4, 0, 1)),
            (&[0, 0, 1, 1, 0], (2, 3, 0)),
            (&[5, 100, 37, 37, 36, 5], (5, 1, 3)),
            (&[0, 1, 1000, 1001, 1000], (4, 1, 0)),
            (&[u32::MAX - 1, u32::MAX, 0, 1, u32::MAX], (4, 1, 0)),
            (&[], (0, 0, 0)),
        ];
        for (sequences, (received, duplicates, reordered)) in cases {
            let mut ear = Ear::new(2);
            for &sequence in sequences {
                ear.hear(&frame(1, sequence), 0, true);
            }
            assert_eq!(ear.counts, Counts { received, duplicates, reordered }, "{sequences:?}");
        }
    }

    #[test]
    fn frames_outside_of_the_measured_time_are_reported_but_not_counted() {
        let mut ear = Ear::new(3);
        assert_eq!(ear.report(0), None);
        assert!(!ear.hear(&frame(1, 0), 0, false));
        assert!(ear.hear(&frame(2, 7), 0, true));
        assert!(ear.hear(&frame(1, 9), 0, true));
        assert!(!ear.hear(&frame(1, 9), 0, true), "the second copy");
        assert!(!ear.hear(&frame(3, 0), 0, true), "not of this room");
        assert_eq!(ear.counts, Counts { received: 2, duplicates: 1, reordered: 0 });
        assert_eq!(ear.report(0).unwrap().sources[0].frames_expected, 0, "not settled");
        let report = ear.report(500_000_000).unwrap();
        let told: Vec<_> = report
            .sources
            .iter()
            .map(|source| (source.sender_id, source.frames_expected, source.frames_lost))
            .collect();
        assert_eq!(told, [(11, 10, 8), (12, 1, 0)]);
    }

    #[test]
    fn what_is_late_is_not_lost() {
        let mut ear = Ear::new(1);
        // 20 ms apart; each odd one is 100 ms late, each tenth never comes.
        let ms = |sequence: u32| u64::from(sequence * 20 + sequence % 2 * 100) * 1_000_000;
        let mut came: Vec<_> = (0..1000).filter(|n| n % 10 != 9).map(|n| (ms(n), n)).collect();
        came.sort_unstable();
        for (now, sequence) in came {
            ear.hear(&frame(0, sequence), now, true);
            let told = ear.report(now).unwrap().sources[0];
            assert_eq!(told.frames_lost, told.frames_expected / 10, "{told:?}");
            let open = sequence - told.through_sequence.unwrap().min(sequence);
            assert!(open <= 32, "{told:?} at {sequence}");
        }
    }

    #[test]
    fn only_those_are_reported_who_were_heard_lately() {
        let mut ear = Ear::new(400);
        let at = |member: u32| u64::from(member) * 100_000_000;
        for member in 0..400 {
            ear.hear(&frame(member, 0), at(member), true);
        }
        let told = |now| ear.report(now).map_or(0, |report| report.sources.len());
        assert_eq!((told(at(400)), told(at(449)), told(at(450))), (49, 0, 0));
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut ear = Ear::new(1);
        for sequence in 0..200 {
            let frame = frame(0, sequence);
            // Every other frame is 1600 us late.
            ear.hear(&frame, frame.sent + u64::from(sequence % 2) * 1_600_000, true);
        }
        let jitter = ear.report(200 * 100).unwrap().sources[0].jitter_us;
        assert!((1590..=1600).contains(&jitter), "{jitter}");
    }
}
