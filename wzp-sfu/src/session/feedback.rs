//! What a sender's listeners hear, summed up for the sender once a second.
//!
//! A room must not be spoiled by one of its listeners, be it that it lies or that
//! its path is bad. So the sender decides by what most of the room hears, and
//! nobody can claim more loss than the relay has reason to believe.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use wzp_proto::control::SenderFeedback;

use super::loss::LossWindow;

use crate::mail::Hearing;

/// One message to the sender sums up this much time.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Frames that a listener's loss is measured over, and the most that it weighs.
/// One second of 20 ms frames less some, so that each report of a listener has
/// enough. Of 3 frames, as in a second of discontinuous transmission, one that
/// is lost would be a third.
pub(crate) const MIN_FRAMES: u32 = 40;

/// Share of the room, in per cent of its weight, that hears no worse than the
/// listener by which the sender decides. With equal weights the worst listener
/// decides in calls of two to four, where it is a third of the audience or more,
/// and never in larger ones. Between a third (three listeners) and a quarter
/// (four), so that small differences in weight do not matter.
const MOST_PERCENT: u64 = 70;

/// A listener's loss counts up to this many times what the relay knows to be
/// lost. The two are measured over times that differ by up to a round trip.
const BENEFIT_OF_DOUBT: u64 = 2;

/// Seconds over which a sender's own loss is known: the shorter shows at once
/// what begins, the longer is as long as the longest hearing.
const UPLINK_SECONDS: [usize; 2] = [3, 12];

/// The listeners of one sender, each with the last it said.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    due: Option<Instant>,
    /// By the listener's own sender id.
    by_listener: HashMap<u16, Said>,
}

#[derive(Debug)]
struct Said {
    hearing: Hearing,
    /// When it is out of date.
    expires: Instant,
    /// Since the last message.
    is_new: bool,
}

/// One listener among others. Sorted by loss, then by jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Judged {
    loss_ppm: u64,
    jitter_us: u32,
    weight: u64,
}

impl Feedback {
    /// Whether it is the first, which sets [`Self::due`].
    pub(crate) fn add(&mut self, now: Instant, listener: u16, hearing: Hearing) -> bool {
        // The next one is due after as long again, and a report's distance.
        let expires = now + hearing.span + INTERVAL;
        self.by_listener.insert(listener, Said { hearing, expires, is_new: true });
        let is_first = self.due.is_none();
        self.due.get_or_insert(now + INTERVAL);
        is_first
    }

    /// When the next message is due, or what is out of date is forgotten.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The message, if its time has come and there is anything new to say, and
    /// how many listeners claimed more loss than there can be. `uplink` is what
    /// came from the sender.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        uplink: &mut LossWindow,
    ) -> Option<(SenderFeedback, u64)> {
        self.due.take_if(|due| *due <= now)?;
        self.by_listener.retain(|_, said| said.expires > now);
        if self.by_listener.is_empty() {
            self.by_listener = HashMap::new();
        } else {
            self.due = Some(now + INTERVAL);
        }
        let lost_before = UPLINK_SECONDS.map(|seconds| uplink.last(now, seconds).ppm());
        let lost_before = lost_before.into_iter().flatten().max().unwrap_or(0);
        let (mut is_news, mut exaggerated) = (false, 0);
        let mut judged: Vec<_> = self
            .by_listener
            .values_mut()
            .map(|Said { hearing, is_new, .. }| {
                let is_new = std::mem::take(is_new);
                is_news |= is_new;
                let known_ppm = u64::from(hearing.known_ppm).saturating_add(lost_before);
                let most_ppm = known_ppm.saturating_mul(BENEFIT_OF_DOUBT);
                exaggerated += u64::from(is_new && hearing.claimed_ppm() > most_ppm);
                // Nobody has heard more than was sent.
                let sent = uplink.last(now, hearing.span.as_secs() as usize + 2).expected;
                Judged {
                    loss_ppm: hearing.claimed_ppm().min(most_ppm),
                    jitter_us: hearing.jitter_us,
                    weight: u64::from(hearing.expected.min(MIN_FRAMES)).min(sent),
                }
            })
            .collect();
        judged.sort_unstable();
        is_news.then_some((sum_up(&judged)?, exaggerated))
    }
}

/// `None` if nobody weighs anything.
fn sum_up(judged: &[Judged]) -> Option<SenderFeedback> {
    let total: u64 = judged.iter().map(|listener| listener.weight).sum();
    let lost: u64 = judged.iter().map(|listener| listener.loss_ppm * listener.weight).sum();
    let mut no_worse = 0;
    let deciding = judged.iter().find(|listener| {
        no_worse += listener.weight;
        listener.weight > 0 && no_worse * 100 >= total * MOST_PERCENT
    })?;
    Some(SenderFeedback {
        listeners: judged.iter().filter(|listener| listener.weight > 0).count() as u32,
        mean_loss_ppm: lost.checked_div(total)? as u32,
        deciding_loss_ppm: deciding.loss_ppm as u32,
        deciding_jitter_us: deciding.jitter_us,
    })
}

#[cfg(test)]
mod tests;
