//! What a sender's listeners report, gathered for one second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wzp_proto::control::{SenderFeedback, SourceReport};

/// One message to the sender sums up this much time.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A listener's loss of one sender between two of its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// Share of frames lost, in parts per million.
    pub loss_ppm: u32,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
}

impl Hearing {
    /// The change between two reports of the same listener on the same sender.
    /// `None` if no frame was due in between.
    pub(crate) fn between(before: &SourceReport, now: &SourceReport) -> Option<Self> {
        // A listener that starts over reports smaller totals: its own beginning.
        let since = |earlier: u32, later: u32| later.checked_sub(earlier).unwrap_or(later);
        let expected = since(before.frames_expected, now.frames_expected);
        let lost = since(before.frames_lost, now.frames_lost).min(expected);
        if expected == 0 {
            return None;
        }
        let loss_ppm = u64::from(lost) * 1_000_000 / u64::from(expected);
        Some(Self { loss_ppm: loss_ppm as u32, jitter_us: now.jitter_us })
    }
}

/// The reports of one second, the last of each listener.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    due: Option<Instant>,
    /// By the listener's own sender id.
    by_listener: BTreeMap<u16, Hearing>,
}

impl Feedback {
    /// Whether it is the first of its second, which sets [`Self::due`].
    pub(crate) fn add(&mut self, now: Instant, listener: u16, hearing: Hearing) -> bool {
        self.by_listener.insert(listener, hearing);
        let is_first = self.due.is_none();
        self.due.get_or_insert(now + INTERVAL);
        is_first
    }

    /// When the next message is due, if there is anything to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The message, if its time has come; begins anew.
    pub(crate) fn take(&mut self, now: Instant) -> Option<SenderFeedback> {
        self.due.take_if(|due| *due <= now)?;
        let heard = std::mem::take(&mut self.by_listener);
        let losses = || heard.values().map(|hearing| u64::from(hearing.loss_ppm));
        Some(SenderFeedback {
            listeners: heard.len() as u32,
            mean_loss_ppm: (losses().sum::<u64>() / heard.len().max(1) as u64) as u32,
            worst_loss_ppm: losses().max().unwrap_or(0) as u32,
            worst_jitter_us: heard.values().map(|hearing| hearing.jitter_us).max().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(frames_expected: u32, frames_lost: u32) -> SourceReport {
        SourceReport {
            sender_id: 1,
            frames_expected,
            frames_lost,
            jitter_us: 7,
            ..SourceReport::default()
        }
    }

    #[test]
    fn loss_is_that_of_the_last_interval() {
        let loss = |before, now| Hearing::between(&before, &now).map(|hearing| hearing.loss_ppm);
        assert_eq!(loss(report(0, 0), report(50, 0)), Some(0));
        assert_eq!(loss(report(1000, 500), report(1050, 505)), Some(100_000));
        assert_eq!(loss(report(50, 1), report(50, 1)), None);
        assert_eq!(loss(report(900, 90), report(50, 25)), Some(500_000), "the listener began anew");
        assert_eq!(loss(report(0, 0), report(10, 90)), Some(1_000_000), "never above all");
    }

    #[test]
    fn one_message_a_second_while_somebody_reports() {
        let start = Instant::now();
        let mut feedback = Feedback::default();
        assert_eq!(feedback.take(start), None);
        for (listener, loss_ppm) in [(1, 900), (1, 0), (2, 100), (3, 500)] {
            feedback.add(start, listener, Hearing { loss_ppm, jitter_us: loss_ppm });
        }
        assert_eq!(feedback.take(start + INTERVAL / 2), None);
        let expected = SenderFeedback {
            listeners: 3,
            mean_loss_ppm: 200,
            worst_loss_ppm: 500,
            worst_jitter_us: 500,
        };
        assert_eq!(feedback.take(start + INTERVAL), Some(expected));
        assert_eq!((feedback.due(), feedback.take(start + INTERVAL * 9)), (None, None));
    }
}
