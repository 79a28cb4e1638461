//! What of a sound file cannot be played.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// A place of a file that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it is in the sound.
    pub at: Duration,
    /// What is there.
    pub what: What,
}

/// What is wrong with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Something is missing, or cannot be decoded; more follows.
    Unreadable,
    /// The file ends there.
    CutOff {
        /// How much of it should follow, if it says how long it is.
        missing: Option<Duration>,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_secs_f64();
        match self.what {
            What::Unreadable => write!(f, "unreadable at {at:.1} s"),
            What::CutOff { missing: None } => write!(f, "cut off at {at:.1} s"),
            What::CutOff { missing: Some(missing) } => {
                write!(f, "cut off at {at:.1} s, {:.1} s before its end", missing.as_secs_f64())
            }
        }
    }
}

/// Places as near to each other as this are one.
const NEAR: Duration = Duration::from_secs(1);

/// Nobody misses so little at the end. A length in a header may be wrong by as much, and
/// what takes FLAC files apart loses the last frame if a tag of another kind follows.
const LITTLE: Duration = Duration::from_millis(300);

/// Places that wait to be told, at most; who does not ask misses those that follow.
const MOST: usize = 100;

/// The damages of one sound, in samples of its own rate.
#[derive(Debug)]
pub(super) struct Damages {
    rate: u32,
    /// Samples that have been played so far.
    played: u64,
    last: Option<Duration>,
    untold: VecDeque<Damage>,
}

impl Damages {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, played: 0, last: None, untold: VecDeque::new() }
    }

    pub(super) fn next(&mut self) -> Option<Damage> {
        self.untold.pop_front()
    }

    /// So many samples more.
    pub(super) fn played(&mut self, samples: usize) {
        self.played = self.played.saturating_add(samples as u64);
    }

    /// Something at that sample, or behind all that has been played.
    pub(super) fn unreadable(&mut self, sample: Option<u64>) {
        let at = self.time(sample.unwrap_or(self.played));
        if self.last.is_none_or(|last| at >= last + NEAR) {
            self.add(Damage { at, what: What::Unreadable });
        }
        self.last = Some(at);
    }

    /// Nothing follows, of so many samples that are missing. Where that is not known, it is
    /// a `cut` or not.
    pub(super) fn end(&mut self, cut: bool, missing: Option<u64>) {
        let missing = missing.map(|samples| self.time(samples));
        if missing.map_or(cut, |missing| missing > LITTLE) {
            self.add(Damage { at: self.time(self.played), what: What::CutOff { missing } });
        }
    }

    fn add(&mut self, damage: Damage) {
        if self.untold.len() < MOST {
            self.untold.push_back(damage);
        }
    }

    fn time(&self, samples: u64) -> Duration {
        Duration::from_secs_f64(samples as f64 / f64::from(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mut damages: Damages) -> Vec<String> {
        std::iter::from_fn(|| damages.next()).map(|damage| damage.to_string()).collect()
    }

    #[test]
    fn places_near_each_other_are_one() {
        let mut damages = Damages::new(8_000);
        for second in [1, 2, 4, 6] {
            damages.played(8_000);
            damages.unreadable((second != 2).then_some(second * 8_000));
            damages.unreadable(Some(second * 8_000 + 400));
        }
        damages.end(false, None);
        assert_eq!(
            told(damages),
            ["unreadable at 1.0 s", "unreadable at 4.0 s", "unreadable at 6.0 s"]
        );
    }

    #[test]
    fn an_end_that_is_too_early_is_told() {
        let cases = [
            (false, None, None),
            (false, Some(0), None),
            (true, Some(2_400), None),
            (false, Some(2_401), Some("cut off at 2.0 s, 0.3 s before its end")),
            (true, Some(80_000), Some("cut off at 2.0 s, 10.0 s before its end")),
            (true, None, Some("cut off at 2.0 s")),
        ];
        for (cut, missing, expected) in cases {
            let mut damages = Damages::new(8_000);
            damages.played(16_000);
            damages.end(cut, missing);
            assert_eq!(told(damages), expected.as_slice(), "{cut} {missing:?}");
        }
    }

    #[test]
    fn damages_that_nobody_asks_for_do_not_pile_up() {
        let mut damages = Damages::new(1_000);
        (0..10_000).for_each(|n| damages.unreadable(Some(n * 2_000)));
        assert_eq!(told(damages).len(), MOST);
    }
}
