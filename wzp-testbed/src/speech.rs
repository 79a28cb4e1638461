//! Speech to send, and recordings read back.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

/// Samples per second of everything here.
pub const RATE: u32 = 48_000;

/// Where Debian's alsa-utils puts a woman saying "Front Left" and the like.
const FOLDER: &str = "/usr/share/sounds/alsa";

/// The recordings, in the order in which they are joined: 11.4 seconds.
const RECORDINGS: [&str; 8] = [
    "Front_Left",
    "Front_Right",
    "Front_Center",
    "Rear_Left",
    "Rear_Right",
    "Rear_Center",
    "Side_Left",
    "Side_Right",
];

/// What lacks for [`write_reference`] to work.
pub fn missing_recordings() -> Option<String> {
    let missing = RECORDINGS.iter().map(|name| format!("{FOLDER}/{name}.wav"));
    missing
        .into_iter()
        .find(|path| !Path::new(path).is_file())
        .map(|path| format!("the recording {path} (Debian: alsa-utils)"))
}

/// Joins the recordings into one file of at least ten seconds; gives its
/// samples.
///
/// # Errors
/// A recording is missing or `path` cannot be written.
pub fn write_reference(path: &Path) -> Result<Vec<f32>> {
    let mut samples = Vec::new();
    for name in RECORDINGS {
        samples.extend(read(Path::new(&format!("{FOLDER}/{name}.wav")))?);
    }
    ensure!(samples.len() >= 10 * RATE as usize, "the recordings last less than 10 seconds");
    write(path, &samples)?;
    Ok(samples)
}

/// Reads a mono file of [`RATE`]; samples from -1 to 1.
///
/// # Errors
/// The file cannot be read, or is not of that kind.
pub fn read(path: &Path) -> Result<Vec<f32>> {
    let context = || format!("cannot read {}", path.display());
    let reader = WavReader::open(path).with_context(context)?;
    let spec = reader.spec();
    let kind = (spec.channels, spec.sample_rate, spec.bits_per_sample, spec.sample_format);
    ensure!(
        kind == (1, RATE, 16, SampleFormat::Int),
        "{}: expected mono, {RATE} Hz, 16 bits, not {kind:?}",
        path.display()
    );
    let scale = |sample: i16| f32::from(sample) / 32_768.0;
    reader
        .into_samples()
        .map(|sample| sample.map(scale))
        .collect::<Result<_, _>>()
        .with_context(context)
}

/// Writes a mono file of [`RATE`] with 16 bits.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, samples: &[f32]) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let spec = WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut writer = WavWriter::create(path, spec).with_context(context)?;
    for sample in samples {
        #[allow(clippy::cast_possible_truncation)] // Limited to the range of i16.
        let sample = (sample * 32_768.0).clamp(-32_768.0, 32_767.0) as i16;
        writer.write_sample(sample).with_context(context)?;
    }
    writer.finalize().with_context(context)
}
