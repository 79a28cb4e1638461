//! WAV files as a source: any usual rate, sample format and number of
//! channels, turned into mono at 48 kHz.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use crate::SAMPLE_RATE;

/// Rates taken, Hz: those of recorded voice and music. Others are mistakes in
/// the header more often than not.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Input samples, at least, that the resampler transforms at a time: at 8 kHz
/// its transition band is then some 30 Hz wide, at 96 kHz some 400 Hz.
const MIN_CHUNK: usize = 1024;

/// Why a WAV file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// There is no such file.
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is something else, or damaged.
    #[error("{} is not a WAV file: {reason}", path.display())]
    NotWav {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is a WAV file of a kind that is not supported.
    #[error(
        "{} is a WAV file of an unsupported kind ({kind}); \
         integer samples of 8 to 32 bits and float samples of 32 bits \
         at 4 to 384 kHz can be played",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it holds.
        kind: String,
    },
    /// It holds no sound.
    #[error("{} has no samples", .0.display())]
    Empty(PathBuf),
}

/// Reads a whole WAV file as mono at 48 kHz; full scale is -1.0 to 1.0, and what
/// a float file holds beyond it is cut off. The channels are averaged. A file of `n` samples at rate `r`
/// gives `n * 48000 / r` samples, rounded, without a shift in time. A file that
/// ends early is read as far as it goes.
///
/// # Errors
/// [`WavError`], naming the file.
pub fn read(path: &Path) -> Result<Vec<f32>, WavError> {
    let mut reader = WavReader::open(path).map_err(|error| describe(path, error))?;
    let spec = reader.spec();
    let unsupported = |kind: String| WavError::Unsupported { path: path.to_owned(), kind };
    if spec.channels == 0 {
        return Err(WavError::NotWav { path: path.to_owned(), reason: "it has no channels" });
    }
    if !RATES.contains(&spec.sample_rate) {
        return Err(unsupported(format!("{} Hz", spec.sample_rate)));
    }
    let interleaved: Vec<f32> = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, 32) => {
            let samples: Vec<f32> = collect(path, reader.samples::<f32>())?;
            samples.into_iter().map(within_full_scale).collect()
        }
        (SampleFormat::Int, bits @ 8..=32) => {
            let scale = 1.0 / (1u64 << (bits - 1)) as f32;
            let samples: Vec<i32> = collect(path, reader.samples::<i32>())?;
            samples.into_iter().map(|sample| sample as f32 * scale).collect()
        }
        (SampleFormat::Float, bits) => return Err(unsupported(format!("float, {bits} bits"))),
        (SampleFormat::Int, bits) => return Err(unsupported(format!("integer, {bits} bits"))),
    };
    let mono = mix_down(&interleaved, &spec);
    if mono.is_empty() {
        return Err(WavError::Empty(path.to_owned()));
    }
    resample(mono, spec.sample_rate)
        .map_err(|reason| unsupported(format!("{} Hz: {reason}", spec.sample_rate)))
}

fn describe(path: &Path, error: hound::Error) -> WavError {
    let path = path.to_owned();
    match error {
        hound::Error::IoError(error) if error.kind() == ErrorKind::NotFound => {
            WavError::NotFound(path)
        }
        // hound's word for a header that ends early.
        hound::Error::IoError(error)
            if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other) =>
        {
            WavError::NotWav { path, reason: "it ends within its header" }
        }
        hound::Error::IoError(source) => WavError::Unreadable { path, source },
        hound::Error::FormatError(reason) => WavError::NotWav { path, reason },
        _ => WavError::Unsupported { path, kind: "compressed or unusual".to_owned() },
    }
}

/// All samples up to the end of the file, expected or not.
fn collect<S>(
    path: &Path,
    samples: impl Iterator<Item = Result<S, hound::Error>>,
) -> Result<Vec<S>, WavError> {
    let mut collected = Vec::new();
    for sample in samples {
        match sample {
            Ok(sample) => collected.push(sample),
            Err(hound::Error::IoError(error))
                if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other) =>
            {
                break;
            }
            Err(error) => return Err(describe(path, error)),
        }
    }
    Ok(collected)
}

/// Float files may hold anything; codecs and ears may not take it.
fn within_full_scale(sample: f32) -> f32 {
    if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }
}

fn mix_down(interleaved: &[f32], spec: &WavSpec) -> Vec<f32> {
    let channels = usize::from(spec.channels);
    interleaved
        .chunks_exact(channels)
        .map(|sample| sample.iter().sum::<f32>() / channels as f32)
        .collect()
}

fn resample(mono: Vec<f32>, rate: u32) -> Result<Vec<f32>, String> {
    if rate == SAMPLE_RATE {
        return Ok(mono);
    }
    let length =
        (mono.len() as u64 * u64::from(SAMPLE_RATE) + u64::from(rate) / 2) / u64::from(rate);
    let mut resampler = Fft::<f32>::new_custom(
        rate as usize,
        SAMPLE_RATE as usize,
        chunk(rate as usize),
        1,
        1,
        rubato::WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|error| error.to_string())?;
    let input = InterleavedSlice::new(&mono, 1, mono.len()).map_err(|error| error.to_string())?;
    let output =
        resampler.process_all(&input, mono.len(), None).map_err(|error| error.to_string())?;
    let mut samples = output.take_data();
    // rubato rounds up.
    samples.resize(length as usize, 0.0);
    Ok(samples)
}

/// A chunk that is a multiple of what the two rates have no common divisor of,
/// and even: rubato delays by half a chunk, and with an odd one the result would
/// be shifted by half an input sample.
fn chunk(rate: usize) -> usize {
    let (mut divisor, mut rest) = (rate, SAMPLE_RATE as usize);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let block = rate / divisor;
    2 * block * MIN_CHUNK.div_ceil(2 * block)
}

#[cfg(test)]
mod tests;
