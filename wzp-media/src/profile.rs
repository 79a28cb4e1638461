//! Chooses the profile of a sender and the loss its encoder prepares for, from
//! what its listeners report once a second.
//!
//! Wide-band PESQ of eight spoken sentences, mean of six seeds, each lost frame
//! drawn independently:
//!
//! | loss | GOOD, no FEC | GOOD, FEC | DEGRADED | CATASTROPHIC |
//! |-----:|-------------:|----------:|---------:|-------------:|
//! |   0 %|          4.27|       4.16|      3.59|          2.45|
//! |   5 %|          3.17|       3.89|      2.71|             -|
//! |  10 %|          2.22|       3.50|      2.47|          1.85|
//! |  20 %|          1.60|       2.77|      2.12|          1.50|
//!
//! So no loss that is independent of the rate is a reason for a lower profile:
//! short frames lose less with each datagram. A lower profile is right when the
//! path has no room for the higher one. Two things tell: loss together with
//! jitter, which is a queue that overflows, and loss so high that hardly
//! anything but a lack of room explains it.

use std::time::Duration;

use wzp_proto::media::Profile;

use crate::encoder::INITIAL_EXPECTED_LOSS;

/// What the listeners of one sender reported: the protocol's `SenderFeedback`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Listeners that reported.
    pub listeners: u32,
    /// Frames lost lately, mean over the listeners, in ppm.
    pub mean_loss_ppm: u32,
    /// The same of the listener than whom most of the room hears no worse, in
    /// ppm.
    pub deciding_loss_ppm: u32,
    /// Interarrival jitter of that listener, in µs.
    pub deciding_jitter_us: u32,
}

/// How to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The profile to be set.
    pub profile: Profile,
    /// Expected loss to be set in the encoder, in percent.
    pub expected_loss: u8,
}

/// Loss, in ppm, from which a profile is given up for the next lower one, and
/// below which the next lower one may be left for it.
struct Limits {
    give_up: u32,
    give_up_with_jitter: u32,
    return_below: u32,
}

/// GOOD is given up at 20 %, or at 8 % with jitter. It is returned to below 6 %:
/// of the 40 frames that a listener is judged by, 1 or 2 are missing at a loss of
/// 3 %.
const GOOD: Limits = Limits { give_up: 200_000, give_up_with_jitter: 80_000, return_below: 60_000 };

/// DEGRADED is given up at 40 %, or at 20 % with jitter.
const DEGRADED: Limits =
    Limits { give_up: 400_000, give_up_with_jitter: 200_000, return_below: 100_000 };

/// Interarrival jitter that goes with a queue, µs. A path at rest has less than
/// 10 ms, wireless ones included.
const QUEUE_JITTER_US: u32 = 30_000;

/// Down after the loss has been too high for so long: two reports.
const DOWN_AFTER: Duration = Duration::from_secs(2);

/// Up after the loss has been low for so long; doubled, up to a limit, each
/// time that going up was followed by going down within that time again.
const UP_AFTER: Duration = Duration::from_secs(10);
const MAX_UP_AFTER: Duration = Duration::from_secs(80);

/// Reports without loss for so long let the encoder go without FEC, which
/// gives full band and 0.1 of PESQ.
const CLEAN_AFTER: Duration = Duration::from_secs(30);

/// Loss that counts as none, ppm: 1 frame in 10 s.
const CLEAN_BELOW: u32 = 2_000;

/// The selector's memory. It starts with GOOD and
/// [`INITIAL_EXPECTED_LOSS`], as the encoder does.
#[derive(Clone, Debug)]
pub struct ProfileSelector {
    profile: Profile,
    expected_loss: u8,
    too_high_since: Option<Duration>,
    low_since: Option<Duration>,
    clean_since: Option<Duration>,
    up_after: Duration,
    went_up: Option<Duration>,
}

impl Default for ProfileSelector {
    fn default() -> Self {
        Self::new()
    }
}

impl ProfileSelector {
    /// A selector without any feedback yet.
    pub fn new() -> Self {
        Self {
            profile: Profile::Good,
            expected_loss: INITIAL_EXPECTED_LOSS,
            too_high_since: None,
            low_since: None,
            clean_since: None,
            up_after: UP_AFTER,
            went_up: None,
        }
    }

    /// The present choice.
    pub fn choice(&self) -> Choice {
        Choice { profile: self.profile, expected_loss: self.expected_loss }
    }

    /// Takes the feedback that came at `now` and chooses again. Feedback of no
    /// listeners changes nothing.
    pub fn update(&mut self, now: Duration, feedback: &Feedback) -> Choice {
        if feedback.listeners > 0 {
            let loss = feedback.deciding_loss_ppm;
            self.choose_profile(now, loss, feedback.deciding_jitter_us >= QUEUE_JITTER_US);
            // FEC for the few who hear worse costs the others little, but no
            // more of it than everybody has at the start.
            let few = feedback.mean_loss_ppm.min(u32::from(INITIAL_EXPECTED_LOSS) * 10_000);
            self.choose_expected_loss(now, loss.max(few));
        }
        self.choice()
    }

    fn choose_profile(&mut self, now: Duration, loss: u32, queue: bool) {
        let (lower, higher) = match self.profile {
            Profile::Good => (Some((Profile::Degraded, GOOD)), None),
            Profile::Degraded => {
                (Some((Profile::Catastrophic, DEGRADED)), Some((Profile::Good, GOOD)))
            }
            Profile::Catastrophic => (None, Some((Profile::Degraded, DEGRADED))),
        };
        let too_high = lower.as_ref().is_some_and(|(_, limits)| {
            loss >= if queue { limits.give_up_with_jitter } else { limits.give_up }
        });
        let low = higher.as_ref().is_some_and(|(_, limits)| loss < limits.return_below);
        let too_high_for = held(&mut self.too_high_since, too_high, now);
        let low_for = held(&mut self.low_since, low, now);

        // The first of two reports a second apart spoke for the second before.
        if let (Some((profile, _)), Some(time)) = (lower, too_high_for)
            && time + Duration::from_secs(1) >= DOWN_AFTER
        {
            let relapsed = self.went_up.is_some_and(|up| now.saturating_sub(up) < self.up_after);
            self.up_after = if relapsed { (self.up_after * 2).min(MAX_UP_AFTER) } else { UP_AFTER };
            self.change(profile);
        } else if let (Some((profile, _)), Some(time)) = (higher, low_for)
            && time >= self.up_after
        {
            self.went_up = Some(now);
            self.change(profile);
        }
    }

    fn change(&mut self, profile: Profile) {
        self.profile = profile;
        self.too_high_since = None;
        self.low_since = None;
    }

    fn choose_expected_loss(&mut self, now: Duration, loss: u32) {
        let clean_for = held(&mut self.clean_since, loss < CLEAN_BELOW, now);
        if let Some(time) = clean_for {
            if time >= CLEAN_AFTER {
                self.expected_loss = 0;
            }
            return;
        }
        self.expected_loss = loss.div_ceil(10_000).min(100) as u8;
    }
}

/// For how long `state` has been true, if it is.
fn held(since: &mut Option<Duration>, state: bool, now: Duration) -> Option<Duration> {
    if !state {
        *since = None;
        return None;
    }
    Some(now.saturating_sub(*since.get_or_insert(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one report a second; returns the profile after each second.
    fn run(selector: &mut ProfileSelector, from: u64, reports: &[(u32, u32)]) -> Vec<Profile> {
        let update = |(second, (loss_percent, jitter_ms)): (u64, &(u32, u32))| {
            let feedback = Feedback {
                listeners: 1,
                mean_loss_ppm: loss_percent * 10_000,
                deciding_loss_ppm: loss_percent * 10_000,
                deciding_jitter_us: jitter_ms * 1000,
            };
            selector.update(Duration::from_secs(second), &feedback).profile
        };
        (from..).zip(reports).map(update).collect()
    }

    #[test]
    fn down_after_two_reports() {
        use Profile::{Catastrophic, Degraded, Good};
        type Reports<'a> = &'a [(u32, u32)];
        let cases: [(&str, Reports, &[Profile]); 6] = [
            ("random loss is no reason", &[(19, 5); 4], &[Good; 4]),
            ("one bad report is no reason", &[(0, 0), (90, 0), (0, 0), (90, 0)], &[Good; 4]),
            ("high loss", &[(20, 5); 3], &[Good, Degraded, Degraded]),
            ("loss with a queue", &[(8, 30); 3], &[Good, Degraded, Degraded]),
            ("a queue without loss", &[(1, 200); 3], &[Good; 3]),
            ("very high loss", &[(50, 5); 4], &[Good, Degraded, Degraded, Catastrophic]),
        ];
        for (name, reports, profiles) in cases {
            assert_eq!(run(&mut ProfileSelector::new(), 0, reports), profiles, "{name}");
        }
    }

    #[test]
    fn up_after_ten_good_seconds_and_later_after_a_relapse() {
        let mut selector = ProfileSelector::new();
        run(&mut selector, 0, &[(25, 0); 2]);
        let first = run(&mut selector, 2, &[(3, 0); 15]);
        assert_eq!(first.iter().filter(|p| **p == Profile::Degraded).count(), 10);
        // Down again within ten seconds of going up at second 12.
        run(&mut selector, 17, &[(25, 0); 2]);
        assert_eq!(selector.choice().profile, Profile::Degraded);
        let second = run(&mut selector, 19, &[(3, 0); 30]);
        assert_eq!(second.iter().filter(|p| **p == Profile::Degraded).count(), 20);
        // Between the limits nothing changes.
        let third = run(&mut selector, 49, &[(10, 0); 60]);
        assert_eq!(third, [Profile::Good; 60]);
    }

    #[test]
    fn a_few_on_bad_paths_get_fec_and_no_lower_profile() {
        for (mean_loss_ppm, expected_loss) in [(40_000, 4), (300_000, 5)] {
            let mut selector = ProfileSelector::new();
            let feedback = Feedback {
                listeners: 20,
                mean_loss_ppm,
                deciding_loss_ppm: 10_000,
                deciding_jitter_us: 90_000,
            };
            for second in 0..60 {
                let choice = selector.update(Duration::from_secs(second), &feedback);
                let expected = Choice { profile: Profile::Good, expected_loss };
                assert_eq!(choice, expected, "mean {mean_loss_ppm} ppm");
            }
        }
    }

    #[test]
    fn expected_loss_follows_and_is_given_up_after_half_a_minute() {
        let mut selector = ProfileSelector::new();
        for (loss, expected) in [(1, 1), (50, 50), (12, 12), (0, 12)] {
            run(&mut selector, 0, &[(loss, 0)]);
            assert_eq!(selector.choice().expected_loss, expected, "{loss} %");
        }
        run(&mut selector, 1, &[(0, 0); 29]);
        assert_eq!(selector.choice().expected_loss, 12);
        run(&mut selector, 30, &[(0, 0)]);
        assert_eq!(selector.choice().expected_loss, 0, "after 30 s without loss");
        selector.update(Duration::from_secs(99), &Feedback::default());
        assert_eq!(selector.choice().expected_loss, 0, "no listeners, no news");
    }
}
