//! What the figures of the demonstration mean: whose fault it is if something of
//! the speech is missing.

/// Milliseconds of delay that the listener's jitter buffer makes up for in any case.
const HARMLESS_MS: f64 = 20.0;

/// What is known after the talk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Frames that the speaker sent.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Frames that came, but after their time to be played.
    pub(super) late: u64,
    /// Silences in what was heard that were not said.
    pub(super) gaps: usize,
    /// Packets that the relay says it dropped.
    pub(super) dropped: f64,
    /// The longest that the programs were not run when they should have been.
    pub(super) speaker_held_up_ms: f64,
    pub(super) listener_held_up_ms: f64,
}

impl Facts {
    /// A sentence or two.
    pub(super) fn verdict(&self) -> String {
        let missing = self.sent.saturating_sub(self.received);
        let frames = if missing == 1 { "1 frame" } else { &format!("{missing} frames") };
        if missing > 0 && self.dropped > 0.0 {
            return format!(
                "{frames} did not arrive, and the relay says that it dropped {:.0}: \
                 wzp_relay_packets_dropped_total has the reasons.",
                self.dropped
            );
        }
        if missing > 0 {
            return format!(
                "{frames} did not arrive, though the relay dropped none: they were lost between \
                 the programs."
            );
        }
        if self.late == 0 && self.gaps == 0 {
            return "Every frame arrived, and in time.".to_owned();
        }
        let held_up = self.speaker_held_up_ms.max(self.listener_held_up_ms);
        if held_up > HARMLESS_MS {
            return format!(
                "Every frame arrived, but this machine was late: it kept the speaker waiting for \
                 up to {:.0} ms and the listener for up to {:.0} ms. The gaps are its own, not \
                 the relay's.",
                self.speaker_held_up_ms, self.listener_held_up_ms
            );
        }
        "Every frame arrived, but some too late to be played, though speaker and listener were \
         run in time: they were delayed on their way, in the relay or because this machine did \
         not run it in time."
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_is_where_the_figures_say() {
        let good = Facts {
            sent: 570,
            received: 570,
            late: 0,
            gaps: 0,
            dropped: 0.0,
            speaker_held_up_ms: 1.0,
            listener_held_up_ms: 2.0,
        };
        let cases = [
            (good, "Every frame arrived, and in time."),
            (Facts { speaker_held_up_ms: 90.0, ..good }, "Every frame arrived, and in time."),
            (
                Facts { gaps: 5, speaker_held_up_ms: 180.4, ..good },
                "Every frame arrived, but this machine was late: it kept the speaker waiting for \
                 up to 180 ms and the listener for up to 2 ms.",
            ),
            (Facts { late: 3, listener_held_up_ms: 60.0, ..good }, "but this machine was late"),
            (Facts { late: 3, ..good }, "they were delayed on their way, in the relay or"),
            (Facts { received: 569, ..good }, "1 frame did not arrive, though the relay dropped"),
            (
                Facts { received: 560, dropped: 10.0, ..good },
                "10 frames did not arrive, and the relay says that it dropped 10",
            ),
        ];
        for (facts, sentence) in cases {
            let verdict = facts.verdict();
            assert!(verdict.contains(sentence), "{facts:?}: {verdict}");
        }
    }
}
