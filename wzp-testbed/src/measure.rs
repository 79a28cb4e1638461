//! Compares what was heard with what was said. Samples are at
//! [`crate::speech::RATE`], from -1 to 1.

use std::ops::Range;
use std::time::Duration;

use crate::speech::RATE;

/// The grain of everything measured here: 5 ms.
const STEP: usize = RATE as usize / 200;

/// Quieter than this is silence: -50 dB below full scale.
const SILENCE: f32 = 0.003_16;

/// Louder than this is clearly speech: -40 dB below full scale.
const SPEECH: f32 = 0.01;

/// How much quieter than the speech it replaces a gap is: 25 dB.
const GAP_RATIO: f32 = 0.056;

/// A gap is at least so long; opus blurs shorter ones by itself.
const GAP: Duration = Duration::from_millis(15);

/// A run of silence where speech should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where, from the start of what was said.
    pub at: Duration,
    /// How long.
    pub length: Duration,
}

/// How what was heard compares with what was said.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// How many samples after its own start the recording starts with what was
    /// said; negative if its beginning is missing.
    pub lag: isize,
    /// From the first to the last sound that was said.
    pub said: Duration,
    /// From the first to the last sound that was heard.
    pub heard: Duration,
    /// Correlation of loudness over time, 1 for the same course.
    pub envelope_correlation: f64,
    /// Silence that was not said.
    pub gaps: Vec<Gap>,
}

impl Comparison {
    /// Aligns and measures.
    pub fn new(said: &[f32], heard: &[f32]) -> Self {
        let lag = alignment(said, heard);
        let aligned = shifted(heard, lag, said.len());
        Self {
            lag,
            said: time(sounding(said).len()),
            heard: time(sounding(heard).len()),
            envelope_correlation: correlation(&loudness(said), &loudness(&aligned)),
            gaps: gaps(said, &aligned),
        }
    }

    /// How much longer or shorter than what was said the sound is.
    pub fn length_error(&self) -> Duration {
        self.said.abs_diff(self.heard)
    }
}

/// From the first to the last step that is not silence; empty if all is.
pub fn sounding(samples: &[f32]) -> Range<usize> {
    let loud = |step: &f32| *step > SILENCE;
    let steps = loudness(samples);
    match (steps.iter().position(loud), steps.iter().rposition(loud)) {
        (Some(first), Some(last)) => first * STEP..(last + 1) * STEP,
        _ => 0..0,
    }
}

fn time(samples: usize) -> Duration {
    #[allow(clippy::cast_precision_loss)] // Hours of samples fit.
    Duration::from_secs_f64(samples as f64 / f64::from(RATE))
}

/// Root mean square of each step.
fn loudness(samples: &[f32]) -> Vec<f32> {
    #[allow(clippy::cast_precision_loss)] // 240 fits.
    let mean = |step: &[f32]| (step.iter().map(|s| s * s).sum::<f32>() / step.len() as f32).sqrt();
    samples.chunks(STEP).map(mean).collect()
}

/// `samples` from `lag` on, `length` of them, with silence where there are none.
fn shifted(samples: &[f32], lag: isize, length: usize) -> Vec<f32> {
    (lag..).take(length).map(|at| at_or_silence(samples, at)).collect()
}

fn at_or_silence(samples: &[f32], at: isize) -> f32 {
    usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0.0)
}

/// Where in `heard` what was said begins. First by loudness in steps, over all
/// positions; then by the samples of the loudest second, around that.
fn alignment(said: &[f32], heard: &[f32]) -> isize {
    let (said_loudness, heard_loudness) = (loudness(said), loudness(heard));
    let signed = |length: usize| isize::try_from(length).unwrap_or(isize::MAX);
    let coarse = best(-signed(said_loudness.len())..signed(heard_loudness.len()), |lag| {
        product(&said_loudness, &heard_loudness, lag)
    });
    let second = RATE as usize;
    let loudest = (0..said.len().saturating_sub(second))
        .step_by(second / 2)
        .max_by(|a, b| energy(&said[*a..*a + second]).total_cmp(&energy(&said[*b..*b + second])))
        .unwrap_or(0);
    let probe = &said[loudest..said.len().min(loudest + second)];
    let step = signed(STEP);
    let around = (coarse - 2) * step..(coarse + 3) * step;
    best(around, |lag| product(probe, heard, lag + signed(loudest)))
}

fn best(lags: Range<isize>, score: impl Fn(isize) -> f64) -> isize {
    lags.map(|lag| (lag, score(lag)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map_or(0, |(lag, _)| lag)
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

/// Correlation of `a` with `b` from `lag` on, where both exist.
fn product(a: &[f32], b: &[f32], lag: isize) -> f64 {
    let (skip_a, skip_b) = if lag < 0 { (lag.unsigned_abs(), 0) } else { (0, lag.unsigned_abs()) };
    let pairs = a.iter().skip(skip_a).zip(b.iter().skip(skip_b));
    pairs.map(|(a, b)| f64::from(a * b)).sum()
}

/// Pearson's correlation coefficient.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    #[allow(clippy::cast_precision_loss)] // A few thousand steps.
    let mean = |x: &[f32]| x.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a) - mean_a, f64::from(*b) - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa == 0.0 || bb == 0.0 { 0.0 } else { ab / (aa * bb).sqrt() }
}

fn gaps(said: &[f32], aligned: &[f32]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut run = 0;
    let missing = loudness(said)
        .into_iter()
        .zip(loudness(aligned))
        .map(|(said, heard)| said > SPEECH && heard < said * GAP_RATIO);
    for (step, missing) in missing.chain([false]).enumerate() {
        if missing {
            run += 1;
            continue;
        }
        let length = time(run * STEP);
        if length >= GAP {
            gaps.push(Gap { at: time((step - run) * STEP), length });
        }
        run = 0;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three seconds of syllables: noise of changing loudness.
    fn syllables() -> Vec<f32> {
        let mut state = 1u32;
        (0..3 * RATE)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = f32::from(u16::try_from(state >> 16).unwrap()) / 32_768.0 - 1.0;
                let course = (f64::from(at) / 4000.0).sin() * (f64::from(at) / 9100.0).sin();
                #[allow(clippy::cast_possible_truncation)] // From 0 to 1.
                let loudness = course.abs() as f32;
                noise * loudness * 0.5
            })
            .collect()
    }

    #[test]
    fn a_delayed_copy_is_found_and_is_the_same() {
        let said = syllables();
        let heard = [&vec![0.0; 12_345][..], &said, &[0.0; 5_000]].concat();
        let comparison = Comparison::new(&said, &heard);
        assert_eq!(comparison.lag, 12_345);
        assert!(comparison.envelope_correlation > 0.999, "{comparison:?}");
        assert!(comparison.length_error() <= Duration::from_millis(10), "{comparison:?}");
        assert_eq!(comparison.gaps, []);
    }

    #[test]
    fn a_missing_beginning_is_noticed() {
        let said = syllables();
        let comparison = Comparison::new(&said, &said[24_000..]);
        assert_eq!(comparison.lag, -24_000);
        assert!(comparison.length_error() >= Duration::from_millis(450), "{comparison:?}");
    }

    #[test]
    fn a_hole_is_a_gap_and_a_pause_is_not() {
        let mut said = syllables();
        said[60_000..70_000].fill(0.0);
        let mut heard = said.clone();
        let loud = 5_000;
        heard[loud..loud + 960].fill(0.0);
        let comparison = Comparison::new(&said, &heard);
        let [gap] = comparison.gaps[..] else { panic!("{comparison:?}") };
        assert!(gap.at.abs_diff(time(loud)) <= Duration::from_millis(5), "{gap:?}");
        assert!((15..=20).contains(&gap.length.as_millis()), "{gap:?}");
    }

    #[test]
    fn something_else_does_not_correlate() {
        let said = syllables();
        let other: Vec<f32> = said.iter().rev().copied().collect();
        assert!(Comparison::new(&said, &other).envelope_correlation < 0.8);
        assert!(Comparison::new(&said, &vec![0.0; said.len()]).envelope_correlation.abs() < 1e-9);
    }
}
