//! Mono of any rate, as it comes, to mono at 48 kHz.

use rubato::Resampler as _;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, ResampleResult, WindowFunction};

use crate::SAMPLE_RATE;

/// Input samples, at least, that are transformed at a time: at 8 kHz the
/// transition band is then some 30 Hz wide, at 96 kHz some 400 Hz.
const MIN_CHUNK: u32 = 1024;

/// The largest number in the ratio of the two rates. Rates that have a larger
/// one, such as 44,099 Hz, are taken for one that is less than 0.01 % off:
/// what is transformed at a time grows with that number, and so do memory and
/// the time before a pipe is heard.
const MAX_TERM: u64 = 8192;

/// Resamples one sound.
pub(super) struct Resampler {
    /// None for what is at 48 kHz.
    fft: Option<Fft<f32>>,
    rate: u64,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Samples taken and given so far.
    taken: u64,
    given: u64,
    /// Output that is the delay of the transform, and to be left out.
    delay: usize,
}

impl Resampler {
    /// From that rate, in Hz.
    pub(super) fn new(rate: u32) -> Result<Self, String> {
        let fft = match rate {
            SAMPLE_RATE => None,
            _ => {
                let (from, to) = ratio(rate, SAMPLE_RATE);
                // An even multiple, or the delay, which is half of it, would shift
                // all by half a sample.
                let chunk = 2 * from * MIN_CHUNK.div_ceil(2 * from);
                let window = WindowFunction::BlackmanHarris2;
                let (from, to, chunk) = (from as usize, to as usize, chunk as usize);
                let fft = Fft::new_custom(from, to, chunk, 1, 1, window, FixedSync::Both);
                Some(fft.map_err(|error| error.to_string())?)
            }
        };
        let delay = fft.as_ref().map_or(0, rubato::Resampler::output_delay);
        let output = vec![0.0; fft.as_ref().map_or(0, rubato::Resampler::output_frames_max)];
        let rate = rate.into();
        Ok(Self { fft, rate, input: Vec::new(), output, taken: 0, given: 0, delay })
    }

    /// Takes some sound; adds to `out` what is ready.
    pub(super) fn push(&mut self, mono: &[f32], out: &mut Vec<f32>) {
        let Some(fft) = &self.fft else { return out.extend_from_slice(mono) };
        let chunk = fft.input_frames_next();
        self.taken += mono.len() as u64;
        self.input.extend_from_slice(mono);
        let mut next = 0;
        while self.input.len() - next >= chunk {
            self.transform(next, chunk, out);
            next += chunk;
        }
        self.input.drain(..next);
    }

    /// There is no more: adds the rest to `out`.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let due = (self.taken * u64::from(SAMPLE_RATE) + self.rate / 2) / self.rate;
        let mut rest = self.input.len();
        while self.fft.is_some() && self.given < due {
            self.transform(0, rest, out);
            rest = 0;
        }
        // What came of the silence after the end.
        let surplus = self.given.saturating_sub(due) as usize;
        out.truncate(out.len().saturating_sub(surplus));
        self.input.clear();
    }

    /// So many samples of the input from there on; with fewer than a chunk, silence
    /// follows them.
    fn transform(&mut self, from: usize, length: usize, out: &mut Vec<f32>) {
        // The buffers are as long as the resampler asks for.
        let produced = self.transformed(from, length).unwrap_or(0);
        let skipped = produced.min(self.delay);
        self.delay -= skipped;
        self.given += (produced - skipped) as u64;
        out.extend_from_slice(&self.output[skipped..produced]);
    }

    fn transformed(&mut self, from: usize, length: usize) -> ResampleResult<usize> {
        let Some(fft) = &mut self.fft else { return Ok(0) };
        let chunk = fft.input_frames_next();
        if self.input.len() < from + chunk {
            self.input.resize(from + chunk, 0.0);
        }
        let input = InterleavedSlice::new(&self.input[from..], 1, self.input.len() - from);
        let frames = self.output.len();
        let output = InterleavedSlice::new_mut(&mut self.output, 1, frames);
        let (Ok(input), Ok(mut output)) = (input, output) else { return Ok(0) };
        let indexing = Indexing::new().partial_len(length.min(chunk));
        fft.process_into_buffer(&input, &mut output, Some(&indexing)).map(|(_, produced)| produced)
    }
}

/// The ratio of two rates in small numbers: exact, or the best approximation
/// whose terms are at most [`MAX_TERM`], by continued fractions.
fn ratio(from: u32, to: u32) -> (u32, u32) {
    let (mut high, mut low) = (u64::from(from), u64::from(to));
    let ((mut last_from, mut last_to), (mut this_from, mut this_to)) = ((0, 1), (1, 0));
    while low > 0 {
        let whole = high / low;
        let room = |last, this| u64::checked_div(MAX_TERM - last, this).unwrap_or(u64::MAX);
        let fitting = whole.min(room(last_from, this_from)).min(room(last_to, this_to));
        let next_from = fitting * this_from + last_from;
        let next_to = fitting * this_to + last_to;
        let off = |from_term, to_term| {
            (from_term as f64 / to_term as f64 - f64::from(from) / f64::from(to)).abs()
        };
        if fitting < whole && off(next_from, next_to) >= off(this_from, this_to) {
            break;
        }
        (last_from, last_to) = (this_from, this_to);
        (this_from, this_to) = (next_from, next_to);
        if fitting < whole {
            break;
        }
        (high, low) = (low, high % low);
    }
    (this_from as u32, this_to as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_exact_or_very_close_and_small() {
        let exact = [(8_000, (1, 6)), (44_100, (147, 160)), (48_000, (1, 1)), (768_000, (16, 1))];
        for (rate, expected) in exact {
            assert_eq!(ratio(rate, SAMPLE_RATE), expected, "{rate} Hz");
        }
        for rate in (1_000..1_536_000).step_by(997) {
            let (from, to) = ratio(rate, SAMPLE_RATE);
            assert!(from > 0 && to > 0 && u64::from(from.max(to)) <= MAX_TERM, "{rate} Hz");
            let taken_for = f64::from(from) / f64::from(to) * f64::from(SAMPLE_RATE);
            let off = (taken_for / f64::from(rate) - 1.0).abs();
            assert!(off < 1e-4, "{rate} Hz: off by {off}");
        }
    }

    #[test]
    fn as_many_samples_come_out_as_should() {
        for (rate, length) in [(8_000, 1), (44_100, 44_100), (44_099, 70_001), (1_001, 3_003)] {
            let mut resampler = Resampler::new(rate).unwrap();
            let mut out = Vec::new();
            for block in vec![0.25; length].chunks(777) {
                resampler.push(block, &mut out);
            }
            resampler.finish(&mut out);
            let expected = (length as f64 * 48_000.0 / f64::from(rate)).round() as usize;
            assert_eq!(out.len(), expected, "{length} at {rate} Hz");
        }
    }
}
