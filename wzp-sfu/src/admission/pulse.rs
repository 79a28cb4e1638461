//! Signs of life of one connection: its shard writes them, who looks for a place on
//! any shard reads them. Times are in ms since the relay's start.

use std::sync::atomic::{AtomicU64, Ordering};

/// An answer that takes longer than this, in ms, or than three round trips, does not
/// come: a peer that lives acknowledges after one and 25 ms, and on most paths QUIC
/// has asked three times by then. Clients repeat a first packet that is not answered
/// after 999 ms (RFC 9002 section 6.2.2): it should be before that.
pub(super) const ANSWER: u64 = 700;

/// When a peer was last heard, asked for a sign, and had media pass.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    heard: AtomicU64,
    /// When the first packet was sent that should be answered, since it was heard.
    asked: AtomicU64,
    /// How long the answer may take.
    patience: AtomicU64,
    media: AtomicU64,
}

impl Pulse {
    /// A packet came.
    pub(super) fn hear(&self, now: u64) {
        self.heard.store(now, Ordering::Relaxed);
    }

    /// Media of it or to it was forwarded.
    pub(super) fn pass_media(&self, now: u64) {
        self.media.store(now, Ordering::Relaxed);
    }

    /// It was sent something that a peer that lives acknowledges. With `round_trip`
    /// in ms, if that is known.
    pub(super) fn ask(&self, now: u64, round_trip: Option<u64>) {
        if let Some(round_trip) = round_trip {
            let patience = round_trip.saturating_mul(3).max(ANSWER);
            self.patience.store(patience, Ordering::Relaxed);
        }
        if !self.owes_answer() {
            self.asked.store(now, Ordering::Relaxed);
        }
    }

    /// Whether it has been asked and not been heard since.
    pub(super) fn owes_answer(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > self.heard.load(Ordering::Relaxed)
    }

    /// When it was last heard or asked.
    pub(super) fn last(&self) -> u64 {
        self.asked.load(Ordering::Relaxed).max(self.heard.load(Ordering::Relaxed))
    }

    /// Whether nothing has come for so long, though it was asked, that nobody is there.
    pub(super) fn is_silent(&self, now: u64) -> bool {
        let waited = now.saturating_sub(self.asked.load(Ordering::Relaxed));
        self.owes_answer() && waited >= self.patience.load(Ordering::Relaxed).max(ANSWER)
    }

    /// Whether no media has passed for so long, in ms.
    pub(super) fn is_idle(&self, now: u64, long: u64) -> bool {
        now.saturating_sub(self.media.load(Ordering::Relaxed)) >= long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_is_who_was_asked_and_did_not_answer_in_time() {
        let pulse = Pulse::default();
        pulse.hear(10_000);
        assert!(!pulse.is_silent(30_000), "nobody has asked");
        pulse.ask(30_000, None);
        assert!(!pulse.is_silent(30_699) && pulse.is_silent(30_700));
        pulse.ask(30_600, Some(50));
        assert!(pulse.is_silent(30_700), "the first question counts");
        pulse.hear(30_750);
        assert!(!pulse.is_silent(40_000), "it has answered");
        pulse.ask(40_000, Some(700));
        assert!(!pulse.is_silent(42_099) && pulse.is_silent(42_100), "its path is long");
    }

    #[test]
    fn idle_is_who_has_no_media() {
        let pulse = Pulse::default();
        pulse.pass_media(1_000);
        pulse.hear(30_000);
        assert!(!pulse.is_idle(30_999, 30_000) && pulse.is_idle(31_000, 30_000));
    }
}
