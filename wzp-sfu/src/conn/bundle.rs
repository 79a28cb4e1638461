//! Frames for one receiver that wait for company, to leave in one packet: a
//! packet costs several times what a frame in it costs.

use std::time::Instant;

/// Bytes of media that fill a packet: 1200 of UDP payload less QUIC's header
/// and tag.
const FULL: usize = 1150;

/// What QUIC adds to a frame: its type and length (RFC 9221 section 4).
const FRAME_OVERHEAD: usize = 3;

/// The frames handed to a receiver's connection since its last packet.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    frames: usize,
    bytes: usize,
    /// When they leave at the latest.
    due: Option<Instant>,
}

impl Bundle {
    /// A frame joins that may wait until `due`. The receiver hears so many
    /// `talkers`: when each may have had its turn, waiting is for nothing, and
    /// so it is when the next frame would not fit.
    pub(crate) fn add(&mut self, length: usize, now: Instant, due: Instant, talkers: usize) {
        let length = length + FRAME_OVERHEAD;
        self.frames += 1;
        self.bytes += length;
        let due = if self.frames >= talkers || self.bytes + length > FULL { now } else { due };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Whether the receiver's packets may wait for a later turn.
    pub(crate) fn may_wait(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due > now)
    }

    /// When they leave at the latest, if there are any.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The frames have left.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn waits_for_company_until_due_full_or_complete() {
        let now = Instant::now();
        let later = now + Duration::from_millis(2);
        // Frames of that length with so many talkers: how many may wait.
        for (length, talkers, waiting) in [(92, 1, 0), (92, 2, 1), (92, 5, 4), (500, 5, 1)] {
            let mut bundle = Bundle::default();
            for number in 0..waiting {
                bundle.add(length, now, later, talkers);
                assert!(bundle.may_wait(now), "{length} {talkers} {number}");
            }
            assert!(!bundle.may_wait(later));
            bundle.add(length, now, later, talkers);
            assert!(!bundle.may_wait(now), "{length} {talkers}");
            bundle.clear();
            assert_eq!(bundle.due(), None);
        }
        let mut bundle = Bundle::default();
        bundle.add(92, now, later, 9);
        bundle.add(92, now, later + Duration::from_millis(1), 9);
        assert_eq!(bundle.due(), Some(later), "the first frame sets the time");
    }
}
