//! The way to one listener: how many of the frames that it was sent came, as it
//! reports, and what the relay itself knows of what was lost, which bounds what the
//! listener can say of others.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use super::loss::Minute;

/// An interval is at least this long. A listener reports once a second, and the
/// path moves a report by some milliseconds.
const INTERVAL: Duration = Duration::from_millis(750);

/// Reception is judged over this time, and as often.
const JUDGED: Duration = Duration::from_secs(10);

/// Reception is poor from this loss on, in parts per million: the loss at which
/// a sender gives up GOOD for its only listener.
const POOR_PPM: u64 = 200_000;

/// Fewer frames in [`JUDGED`] tell nothing: those of one sender during
/// discontinuous transmission, one in 400 ms.
const MIN_JUDGED: u64 = 25;

/// A listener that reported, is sent frames and speaks of none of them for so long misses
/// them: reports come once a second.
const SILENCE: Duration = Duration::from_secs(3);

/// Frames that the listener was sent, and those of them that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) sent: u32,
    pub(crate) received: u32,
}

impl AddAssign for Heard {
    fn add_assign(&mut self, more: Self) {
        self.sent = self.sent.saturating_add(more.sent);
        self.received = self.received.saturating_add(more.received);
    }
}

/// Frames and packets to one listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Frames that its connection took.
    pub(crate) forwarded: u64,
    /// Frames that made way for newer ones.
    pub(crate) evicted: u64,
    /// Packets made that carry frames.
    pub(crate) packets: u64,
    /// Packets of any kind that QUIC declared lost (RFC 9002 section 6.1). Those
    /// that were only late are among them, so loss is never put too low.
    pub(crate) packets_lost: u64,
}

impl Sent {
    /// What was added between two totals.
    fn since(self, earlier: Self) -> Self {
        Self {
            forwarded: self.forwarded.saturating_sub(earlier.forwarded),
            evicted: self.evicted.saturating_sub(earlier.evicted),
            packets: self.packets.saturating_sub(earlier.packets),
            packets_lost: self.packets_lost.saturating_sub(earlier.packets_lost),
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            forwarded: self.forwarded.saturating_add(more.forwarded),
            evicted: self.evicted.saturating_add(more.evicted),
            packets: self.packets.saturating_add(more.packets),
            packets_lost: self.packets_lost.saturating_add(more.packets_lost),
        }
    }

    /// Frames that the listener was to get.
    fn due(self) -> u64 {
        self.forwarded.saturating_add(self.evicted)
    }

    /// Share of the frames that did not get there, in parts per million.
    fn loss_ppm(self) -> u32 {
        let due = u128::from(self.forwarded) + u128::from(self.evicted);
        // Packets sent before and declared lost now are lost of nothing.
        if self.packets_lost >= self.packets.max(1) || due == 0 {
            return if self.packets_lost > 0 { 1_000_000 } else { 0 };
        }
        let in_packets = u128::from(self.forwarded) * u128::from(self.packets_lost)
            / u128::from(self.packets.max(1));
        ((u128::from(self.evicted) + in_packets) * 1_000_000 / due) as u32
    }
}

/// The way to one listener.
#[derive(Debug)]
pub(crate) struct Downlink {
    /// Totals when they were last taken.
    total: Sent,
    /// The interval before the present one.
    previous: Sent,
    present: Sent,
    present_since: Instant,
    /// As the listener reports.
    heard: Minute,
    /// When it last spoke of frames, and how many were due by then.
    reported: Option<(Instant, u64)>,
    /// Frames since then that are counted as missed, because it has not.
    missed: u64,
    judged_since: Instant,
}

impl Downlink {
    pub(crate) fn new(now: Instant) -> Self {
        let nothing = Sent::default();
        Self {
            total: nothing,
            previous: nothing,
            present: nothing,
            present_since: now,
            heard: Minute::new(now),
            reported: None,
            missed: 0,
            judged_since: now,
        }
    }

    /// Takes the totals of now; the loss of the last two intervals, in parts per
    /// million. Two, because QUIC notices a loss up to a round trip later than
    /// the listener does.
    pub(crate) fn update(&mut self, now: Instant, total: Sent) -> u32 {
        let new = total.since(self.total);
        self.total = total;
        self.present = self.present.plus(new);
        let loss_ppm = self.previous.plus(self.present).loss_ppm();
        if now.saturating_duration_since(self.present_since) >= INTERVAL {
            self.previous = std::mem::take(&mut self.present);
            self.present_since = now;
        }
        loss_ppm
    }

    /// Takes what a report says of frames, after [`Self::update`].
    pub(crate) fn hear(&mut self, now: Instant, heard: Heard) {
        if heard.sent == 0 {
            return;
        }
        // Those that are counted as missed were due once only.
        let missed = u32::try_from(std::mem::take(&mut self.missed)).unwrap_or(u32::MAX);
        self.heard.count(now, heard.sent.saturating_sub(missed), heard.received);
        self.reported = Some((now, self.total.due()));
    }

    /// Looks whether the listener misses all that it is sent. It says nothing of that: its
    /// reports are of what it hears. `due`: frames that it was to get, since it joined.
    pub(crate) fn look(&mut self, now: Instant, due: u64) {
        let Some((at, by_then)) = self.reported else { return };
        if now.saturating_duration_since(at) < SILENCE {
            return;
        }
        let new = due.saturating_sub(by_then).saturating_sub(self.missed);
        self.missed = self.missed.saturating_add(new);
        self.heard.count(now, u32::try_from(new).unwrap_or(u32::MAX), 0);
    }

    /// The share of the frames of the last minute that the listener missed, in parts
    /// per million. `None`: it has reported none.
    pub(crate) fn loss_ppm(&mut self, now: Instant) -> Option<u64> {
        self.heard.ppm(now)
    }

    /// The loss in per cent, if it is time to judge and reception was poor.
    pub(crate) fn poor(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.judged_since) < JUDGED {
            return None;
        }
        self.judged_since = now;
        let judged = self.heard.last(now, JUDGED.as_secs() as usize);
        let poor = judged.ppm().filter(|ppm| *ppm >= POOR_PPM && judged.expected >= MIN_JUDGED);
        poor.map(|ppm| ppm / 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_that_of_packets_and_of_what_made_way() {
        let sent = |forwarded, evicted, packets, packets_lost| Sent {
            forwarded,
            evicted,
            packets,
            packets_lost,
        };
        let cases = [
            ("nothing was sent", sent(0, 0, 0, 0), 0),
            ("nothing was lost", sent(100, 0, 50, 0), 0),
            ("QUIC has them and sends nothing", sent(2, 0, 0, 0), 0),
            ("a packet of two frames", sent(100, 0, 50, 1), 20_000),
            ("frames made way", sent(90, 10, 90, 0), 100_000),
            ("both", sent(80, 20, 80, 8), 280_000),
            ("nothing got there", sent(50, 0, 50, 50), 1_000_000),
            ("lost earlier, noticed now", sent(5, 0, 5, 200), 1_000_000),
            ("lost earlier, and nothing since", sent(0, 0, 0, 3), 1_000_000),
            ("as much as can be", sent(u64::MAX, u64::MAX, u64::MAX, u64::MAX), 1_000_000),
        ];
        for (case, sent, ppm) in cases {
            assert_eq!(sent.loss_ppm(), ppm, "{case}");
        }
    }

    /// 50 frames a second in a packet each, of which `lost` are; what is known
    /// after each second.
    fn seconds(downlink: &mut Downlink, start: Instant, lost: &[u64]) -> Vec<u32> {
        let mut total = Sent::default();
        (1..)
            .zip(lost)
            .map(|(second, lost)| {
                let added = Sent { forwarded: 50, packets: 50, packets_lost: *lost, evicted: 0 };
                total = total.plus(added);
                downlink.update(start + Duration::from_secs(1) * second, total)
            })
            .collect()
    }

    #[test]
    fn a_loss_is_known_for_two_intervals() {
        let start = Instant::now();
        let mut downlink = Downlink::new(start);
        let known = seconds(&mut downlink, start, &[0, 10, 0, 0, 50, 50]);
        assert_eq!(known, [0, 100_000, 100_000, 0, 500_000, 1_000_000]);
    }

    #[test]
    fn reception_is_judged_every_ten_seconds() {
        let start = Instant::now();
        let mut downlink = Downlink::new(start);
        // What comes of 50 frames a second, in ten seconds each.
        let cases =
            [(50, None), (41, None), (40, Some(20)), (0, Some(100)), (60, None), (40, Some(20))];
        for (number, (received, poor)) in (0..).zip(cases) {
            let begin = start + JUDGED * number;
            for second in 1..=10 {
                let now = begin + Duration::from_secs(second);
                downlink.hear(now, Heard { sent: 50, received });
                let told = downlink.poor(now);
                assert_eq!(told, poor.filter(|_| second == 10), "{received} at {second} s");
            }
        }
        assert_eq!(downlink.loss_ppm(start + JUDGED * 6), Some(690 * 1_000_000 / 3000));
    }

    /// A second each: 50 frames are due or none, and the listener has `Some` of them or
    /// says nothing. The loss at the end, in parts per million.
    fn told(seconds: &[(u64, Option<u32>)]) -> Option<u64> {
        let start = Instant::now();
        let mut downlink = Downlink::new(start);
        let (mut total, mut now, mut untold) = (Sent::default(), start, 0);
        for (due, received) in seconds {
            now += Duration::from_secs(1);
            total.forwarded += due;
            untold += *due as u32;
            if let Some(received) = *received {
                downlink.update(now, total);
                downlink.hear(now, Heard { sent: std::mem::take(&mut untold), received });
            }
            downlink.look(now, total.due());
        }
        downlink.loss_ppm(now)
    }

    #[test]
    fn a_listener_that_hears_nothing_any_more_misses_all() {
        let (good, deaf, quiet) = ((50, Some(50)), (50, None), (0, None));
        let repeat = |part: &[(u64, Option<u32>)], n| part.repeat(n);
        let cases = [
            ("it never reported", repeat(&[deaf], 30), None),
            ("all is well", repeat(&[good], 30), Some(0)),
            ("a late report", [repeat(&[good], 10), vec![deaf, deaf]].concat(), Some(0)),
            ("nobody talks", [repeat(&[good], 10), repeat(&[quiet], 30)].concat(), Some(0)),
            ("half the time", [repeat(&[good], 20), repeat(&[deaf], 20)].concat(), Some(500_000)),
            ("all of the last minute", [vec![good], repeat(&[deaf], 70)].concat(), Some(1_000_000)),
            (
                "a report that was late by ten seconds",
                [repeat(&[good], 10), repeat(&[deaf], 9), vec![(50, Some(500))]].concat(),
                Some(0),
            ),
            (
                "deaf for ten seconds",
                [repeat(&[good], 20), repeat(&[deaf], 9), vec![(50, Some(0))], vec![good; 10]]
                    .concat(),
                Some(250_000),
            ),
        ];
        for (case, seconds, expected) in cases {
            assert_eq!(told(&seconds), expected, "{case}");
        }
    }

    #[test]
    fn few_frames_tell_nothing_of_reception() {
        let start = Instant::now();
        let mut downlink = Downlink::new(start);
        assert_eq!(downlink.loss_ppm(start), None);
        for second in 1..=10 {
            downlink.hear(start + Duration::from_secs(second), Heard { sent: 2, received: 0 });
        }
        let end = start + JUDGED;
        assert_eq!((downlink.poor(end), downlink.loss_ppm(end)), (None, Some(1_000_000)));
    }
}
