//! What the relay itself knows of the way to one listener: how much voice it
//! sent there, and how much of it was lost. It bounds what the listener can say.

use std::time::{Duration, Instant};

/// An interval is at least this long. A listener reports once a second, and the
/// path moves a report by some milliseconds.
const INTERVAL: Duration = Duration::from_millis(750);

/// Reception is judged over this time.
const JUDGED: Duration = Duration::from_secs(10);

/// Reception is poor from this loss on, in parts per million: the loss at which
/// a sender gives up GOOD for its only listener.
const POOR_PPM: u32 = 200_000;

/// Fewer frames in [`JUDGED`] tell nothing: those of one sender during
/// discontinuous transmission, one in 400 ms.
const MIN_JUDGED: u64 = 25;

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

    /// Share of the frames that did not get there, in parts per million.
    fn loss_ppm(self) -> u32 {
        let due = u128::from(self.forwarded) + u128::from(self.evicted);
        // Packets sent before and declared lost now are lost of nothing.
        if self.packets_lost >= self.packets.max(1) || due == 0 {
            return if self.packets_lost > 0 { 1_000_000 } else { 0 };
        }
        let in_packets =
            u128::from(self.forwarded) * u128::from(self.packets_lost) / u128::from(self.packets);
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
    judged: Sent,
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
            judged: nothing,
            judged_since: now,
        }
    }

    /// Takes the totals of now; the loss of the last two intervals, in parts per
    /// million. Two, because QUIC notices a loss up to a round trip later than
    /// the listener does.
    pub(crate) fn update(&mut self, now: Instant, total: Sent) -> u32 {
        let new = total.since(self.total);
        self.total = total;
        self.judged = self.judged.plus(new);
        self.present = self.present.plus(new);
        let loss_ppm = self.previous.plus(self.present).loss_ppm();
        if now.saturating_duration_since(self.present_since) >= INTERVAL {
            self.previous = std::mem::take(&mut self.present);
            self.present_since = now;
        }
        loss_ppm
    }

    /// The loss in per cent, if it is time to judge and reception was poor.
    pub(crate) fn poor(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.judged_since) < JUDGED {
            return None;
        }
        self.judged_since = now;
        let judged = std::mem::take(&mut self.judged);
        let loss_ppm = judged.loss_ppm();
        let is_poor =
            loss_ppm >= POOR_PPM && judged.forwarded.saturating_add(judged.evicted) >= MIN_JUDGED;
        is_poor.then_some(loss_ppm / 10_000)
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
        for (lost, poor) in [(0, None), (9, None), (10, Some(20)), (50, Some(100))] {
            let start = Instant::now();
            let mut downlink = Downlink::new(start);
            seconds(&mut downlink, start, &[lost; 10]);
            assert_eq!(downlink.poor(start + JUDGED / 2), None, "too early");
            assert_eq!(downlink.poor(start + JUDGED), poor, "{lost} of 50 lost");
            assert_eq!(downlink.poor(start + JUDGED * 2), None, "nothing was sent since");
        }
    }
}
