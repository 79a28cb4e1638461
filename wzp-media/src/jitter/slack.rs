//! Watches the distance between playout and the sender's clock, and judges
//! whether it has to change within a talk spurt.

use std::collections::VecDeque;

use super::TICK_US;

/// Ticks whose smallest offset counts. A listener that was stopped for a moment
/// pulls late, then several times at once; it never pulls early.
const WATCHED_TICKS: usize = 10;

/// The slack may exceed its target by less than this, µs, before ticks are
/// merged: a spurt starts up to one tick above target, one more is hysteresis.
const EXCESS_US: i64 = 2 * TICK_US;

/// The slack may fall short of its target by this much, µs, before a tick is
/// inserted at a quiet frame.
const SHORT_QUIET_US: i64 = 5_000;

/// The same at any frame: before the smallest target, 20 ms, is used up.
const SHORT_US: i64 = 15_000;

/// Merging waits so long, µs, for a quiet frame. Speech pauses more often.
const PATIENCE_US: i64 = 5_000_000;

/// What the slack should be, µs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// With what is known about the path.
    pub(super) now_us: i64,
    /// If frames were being lost. The slack is not reduced below it, so that
    /// nothing changes on a path on which nothing happens.
    pub(super) with_loss_us: i64,
}

/// What the slack asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Stretch,
    Merge,
}

/// Offsets (playout minus sender's clock, µs) of the last ticks.
#[derive(Debug, Default)]
pub(super) struct SlackWatch {
    offsets: VecDeque<i64>,
    excess_since_us: Option<i64>,
}

impl SlackWatch {
    /// Notes the offset of a tick that is being played.
    pub(super) fn note(&mut self, offset_us: i64) {
        if self.offsets.len() == WATCHED_TICKS {
            self.offsets.pop_front();
        }
        self.offsets.push_back(offset_us);
    }

    /// The offset has been changed on purpose: what was seen no longer counts,
    /// and nothing is changed again until enough is seen again.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
        self.excess_since_us = None;
    }

    /// The offset, once enough ticks have been seen.
    pub(super) fn offset_us(&self) -> Option<i64> {
        if self.offsets.len() < WATCHED_TICKS {
            return None;
        }
        self.offsets.iter().copied().min()
    }

    /// Whether this slack may stay over a pause.
    pub(super) fn suits(slack_us: i64, target: Target) -> bool {
        (target.now_us - SHORT_QUIET_US..target.with_loss_us + EXCESS_US).contains(&slack_us)
    }

    /// Judges before a frame, `quiet` or not, is played.
    pub(super) fn judge(
        &mut self,
        now_us: i64,
        slack_us: i64,
        target: Target,
        quiet: bool,
    ) -> Verdict {
        let short = if quiet { SHORT_QUIET_US } else { SHORT_US };
        if slack_us < target.now_us - short {
            return Verdict::Stretch;
        }
        if slack_us < target.with_loss_us + EXCESS_US {
            self.excess_since_us = None;
            return Verdict::Keep;
        }
        let since = *self.excess_since_us.get_or_insert(now_us);
        if quiet || now_us - since >= PATIENCE_US { Verdict::Merge } else { Verdict::Keep }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1000;
    const TARGET: Target = Target { now_us: 20 * MS, with_loss_us: 30 * MS };

    #[test]
    fn verdicts_at_the_edges_of_the_band() {
        let cases = [
            (20, false, Verdict::Keep),
            (20, true, Verdict::Keep),
            (15, true, Verdict::Keep),
            (14, true, Verdict::Stretch),
            (14, false, Verdict::Keep),
            (4, false, Verdict::Stretch),
            (69, true, Verdict::Keep),
            (70, true, Verdict::Merge),
            (70, false, Verdict::Keep),
        ];
        for (slack, quiet, verdict) in cases {
            let judged = SlackWatch::default().judge(0, slack * MS, TARGET, quiet);
            assert_eq!(judged, verdict, "slack {slack} ms, quiet {quiet}");
        }
        for (slack, suits) in [(14, false), (15, true), (69, true), (70, false)] {
            assert_eq!(SlackWatch::suits(slack * MS, TARGET), suits, "slack {slack} ms");
        }
    }

    #[test]
    fn an_excess_without_quiet_frames_is_merged_after_five_seconds() {
        let mut watch = SlackWatch::default();
        let mut judge = |now_us, slack_us| watch.judge(now_us, slack_us, TARGET, false);
        assert_eq!(judge(0, 90_000), Verdict::Keep);
        assert_eq!(judge(4_999_999, 90_000), Verdict::Keep);
        assert_eq!(judge(5_000_000, 90_000), Verdict::Merge);
        assert_eq!(judge(5_100_000, 40_000), Verdict::Keep);
        assert_eq!(judge(5_200_000, 90_000), Verdict::Keep, "patience begins again");
    }

    #[test]
    fn a_late_pull_does_not_count() {
        let mut watch = SlackWatch::default();
        for offset in [50, 50, 190, 170, 150, 130, 110, 90, 70] {
            watch.note(offset);
            assert_eq!(watch.offset_us(), None);
        }
        watch.note(50);
        assert_eq!(watch.offset_us(), Some(50));
        watch.clear();
        assert_eq!(watch.offset_us(), None);
    }
}
