//! How loud given tones are in a recording.

use std::f64::consts::TAU;

use crate::speech::RATE;

/// Length of one analysis: tones 40 Hz apart are told apart.
const BLOCK: usize = RATE as usize / 10;

/// Level of the tone `hz` in `samples`, in decibels below a full-scale sine;
/// the median over blocks of 100 ms, so that neither a late start nor a click
/// decides.
pub fn level_db(samples: &[f32], hz: f64) -> f64 {
    let mut powers: Vec<f64> =
        samples.chunks_exact(BLOCK).map(|block| amplitude(block, hz).powi(2)).collect();
    powers.sort_by(f64::total_cmp);
    let median = powers.get(powers.len() / 2).copied().unwrap_or(0.0);
    10.0 * median.max(1e-12).log10()
}

/// Goertzel's algorithm under a Hann window: 1 for a full-scale sine.
fn amplitude(block: &[f32], hz: f64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // 4800 fits.
    let length = block.len() as f64;
    let coefficient = 2.0 * (TAU * hz / f64::from(RATE)).cos();
    let (mut before, mut last) = (0.0, 0.0);
    for (at, sample) in (0u32..).zip(block) {
        let window = 0.5 - 0.5 * (TAU * f64::from(at) / length).cos();
        let next = f64::from(*sample) * window + coefficient * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - coefficient * last * before;
    // The window halves the sum, and a sine has two sides.
    4.0 * power.max(0.0).sqrt() / length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_mixed_tones() {
        let samples: Vec<f32> = (0..RATE)
            .map(|at| {
                let phase = TAU * f64::from(at) / f64::from(RATE);
                #[allow(clippy::cast_possible_truncation)] // From -1 to 1.
                let sample = (0.5 * (phase * 440.0).sin() + 0.05 * (phase * 1000.0).sin()) as f32;
                sample
            })
            .collect();
        for (hz, expected) in [(440.0, -6.0), (1000.0, -26.0)] {
            let level = level_db(&samples, hz);
            assert!((level - expected).abs() < 0.3, "{hz} Hz: {level} dB");
        }
        assert!(level_db(&samples, 700.0) < -80.0);
        assert!(level_db(&[], 700.0) < -100.0);
    }
}
