//! Keeps a mix of several voices within full scale.
//!
//! A signal that never exceeds full scale passes through bit by bit. A louder
//! one is turned down within 2 ms and back up slowly; what is above full scale
//! in the 2 ms is bent by Opus's soft clipping.

use opus::{Channels, SoftClip};

use crate::{TICK_SAMPLES, Tick};

/// The gain recovers by a factor of 1.06 per tick, 25 dB per second: slower
/// than syllables, so that a loud voice does not pump the others.
const RELEASE_PER_TICK: f32 = 1.06;

/// Samples over which the gain falls: 2 ms, short enough to leave little above
/// full scale and long enough not to click.
const ATTACK_SAMPLES: usize = 96;

/// The limiter's state between ticks.
#[derive(Debug)]
pub struct Limiter {
    gain: f32,
    clip: SoftClip,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Limiter {
    /// A limiter at rest.
    pub fn new() -> Self {
        Self { gain: 1.0, clip: SoftClip::new(Channels::Mono) }
    }

    /// Brings the next tick within -1.0 to 1.0.
    pub fn apply(&mut self, tick: &mut Tick) {
        let peak = tick.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
        let wanted = if peak > 1.0 { 1.0 / peak } else { 1.0 };
        let from = self.gain;
        let to = wanted.min(from * RELEASE_PER_TICK);
        self.gain = to;
        if from < 1.0 || to < 1.0 {
            let ramp = if to < from { ATTACK_SAMPLES } else { TICK_SAMPLES };
            for (index, sample) in tick.iter_mut().enumerate() {
                let share = ((index + 1) as f32 / ramp as f32).min(1.0);
                *sample *= from + (to - from) * share;
            }
        }
        self.clip.apply(tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    #[test]
    fn what_fits_passes_bit_by_bit() {
        let mut limiter = Limiter::new();
        let mut tone = Tone::new(440.0, 0.0);
        for _ in 0..50 {
            let original = tone.tick();
            let mut tick = original;
            limiter.apply(&mut tick);
            assert_eq!(tick, original);
        }
    }

    #[test]
    fn what_is_too_loud_is_turned_down_and_later_released() {
        let mut limiter = Limiter::new();
        let mut tone = Tone::new(440.0, 0.0);
        let peak = |tick: &Tick| tick.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
        for number in 0..50 {
            let mut tick = tone.tick().map(|sample| sample * 3.0);
            limiter.apply(&mut tick);
            assert!(peak(&tick) <= 1.0, "tick {number}: {}", peak(&tick));
            if number > 0 {
                // Turned down rather than bent: a sine stays a sine.
                let mean_square = tick.iter().map(|sample| sample * sample).sum::<f32>() / 960.0;
                assert!((0.45..0.52).contains(&mean_square), "tick {number}: {mean_square}");
            }
        }
        let mut quiet = [0.25; TICK_SAMPLES];
        for _ in 0..25 {
            quiet = [0.25; TICK_SAMPLES];
            limiter.apply(&mut quiet);
        }
        assert_eq!(quiet, [0.25; TICK_SAMPLES], "half a second later");
    }
}
