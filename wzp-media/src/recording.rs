//! What was heard, as a WAV file: mono, 48 kHz, 16 bits.
//!
//! The file begins with the first tick in which somebody was heard and ends
//! with the last, so its length is the span of what was heard. Silence is held
//! back until something follows it. Once a second the header is brought up to
//! date, so that a crash loses no more than that.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::{SAMPLE_RATE, TICK_SAMPLES, Tick};

/// Ticks between two updates of the header: 1 s.
const FLUSH_TICKS: u64 = 50;

/// Ticks of a pause that are kept as they were: 2 s. Longer pauses hold nothing
/// but silence, because background noise ends 1 s after the last frame.
const HELD_TICKS: usize = 100;

/// Ticks in the longest file. A WAV header counts up to 4 GiB; this is just
/// below, 12 hours and 25 minutes.
const MAX_TICKS: u64 = (u32::MAX as u64 - 1024) / (2 * TICK_SAMPLES as u64);

const SPEC: WavSpec = WavSpec {
    channels: 1,
    sample_rate: SAMPLE_RATE,
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};

/// Why a recording cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be created or written.
    #[error("the recording {} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: hound::Error,
    },
    /// The file is as long as a WAV file can be.
    #[error("the recording {} is full: a WAV file ends at 4 GiB", .0.display())]
    Full(PathBuf),
}

/// A WAV file being written.
pub struct Recording {
    path: PathBuf,
    writer: WavWriter<BufWriter<File>>,
    written_ticks: u64,
    /// The pause since something was last heard: its beginning, and how many
    /// ticks of silence came after that.
    held: Vec<Tick>,
    further: u64,
}

impl Recording {
    /// A recording to `path`. The file is created at once, empty but valid, so
    /// that a wrong path is known at once; a file that was there is replaced.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn create(path: &Path) -> Result<Self, RecordingError> {
        let path = path.to_owned();
        let created = WavWriter::create(&path, SPEC).and_then(|mut writer| {
            writer.flush()?;
            Ok(writer)
        });
        match created {
            Ok(writer) => Ok(Self { path, writer, written_ticks: 0, held: Vec::new(), further: 0 }),
            Err(source) => Err(RecordingError::Write { path, source }),
        }
    }

    /// Takes the next tick of the mix, and whether anybody was heard in it.
    ///
    /// # Errors
    /// [`RecordingError`]; what was written before stays.
    pub fn push(&mut self, tick: &Tick, heard: bool) -> Result<(), RecordingError> {
        if heard {
            for held in std::mem::take(&mut self.held) {
                self.write(&held)?;
            }
            for _ in 0..std::mem::take(&mut self.further) {
                self.write(&crate::SILENT_TICK)?;
            }
            self.write(tick)
        } else {
            if self.written_ticks == 0 {
                return Ok(());
            }
            if self.held.len() < HELD_TICKS {
                self.held.push(*tick);
            } else {
                self.further += 1;
            }
            Ok(())
        }
    }

    /// Length of the file so far, in samples.
    pub fn samples(&self) -> u64 {
        self.written_ticks * TICK_SAMPLES as u64
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn finish(self) -> Result<(), RecordingError> {
        let path = self.path;
        self.writer.finalize().map_err(|source| RecordingError::Write { path, source })
    }

    fn write(&mut self, tick: &Tick) -> Result<(), RecordingError> {
        if self.written_ticks >= MAX_TICKS {
            return Err(RecordingError::Full(self.path.clone()));
        }
        let written = tick
            .iter()
            .try_for_each(|sample| self.writer.write_sample(to_i16(*sample)))
            .and_then(|()| {
                self.written_ticks += 1;
                if self.written_ticks.is_multiple_of(FLUSH_TICKS) {
                    self.writer.flush()?;
                }
                Ok(())
            });
        written.map_err(|source| RecordingError::Write { path: self.path.clone(), source })
    }
}

/// To the nearest step; the inverse of dividing by 32768 as [`crate::wav`] does.
fn to_i16(sample: f32) -> i16 {
    // The cast saturates.
    (sample * 32768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SILENT_TICK, wav};

    /// Ticks by letter: silence, background noise that nobody said, voice.
    fn record(recording: &mut Recording, ticks: &str) {
        for tick in ticks.chars() {
            let (tick, heard) = match tick {
                '.' => (SILENT_TICK, false),
                'n' => ([0.125; TICK_SAMPLES], false),
                _ => ([0.5; TICK_SAMPLES], true),
            };
            recording.push(&tick, heard).unwrap();
        }
    }

    /// The inverse of [`record`].
    fn letters(path: &Path) -> Result<String, wav::WavError> {
        let letter = |tick: &[f32]| match tick[0] {
            0.0 => '.',
            0.125 => 'n',
            _ => 'v',
        };
        Ok(wav::read(path)?.chunks_exact(TICK_SAMPLES).map(letter).collect())
    }

    #[test]
    fn the_file_spans_what_was_heard() {
        let long = format!("v{}v", "n".repeat(120));
        let kept = format!("v{}{}v", "n".repeat(100), ".".repeat(20));
        let cases = [
            ("vvv", "vvv"),
            ("...nnvv", "vv"),
            ("vv.nn...", "vv"),
            ("..v.nv..v..", "v.nv..v"),
            (&long, &kept),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heard.wav");
        for (ticks, expected) in cases {
            let mut recording = Recording::create(&path).unwrap();
            record(&mut recording, ticks);
            assert_eq!(recording.samples(), (expected.len() * TICK_SAMPLES) as u64);
            recording.finish().unwrap();
            assert_eq!(letters(&path).unwrap(), expected, "{ticks}");
        }
    }

    #[test]
    fn nothing_heard_leaves_a_valid_file_without_samples() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heard.wav");
        let mut recording = Recording::create(&path).unwrap();
        record(&mut recording, "..nn..");
        assert!(matches!(letters(&path), Err(wav::WavError::Empty(_))), "even before its end");
        recording.finish().unwrap();
        assert!(matches!(letters(&path), Err(wav::WavError::Empty(_))));
    }

    #[test]
    fn a_crash_loses_at_most_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heard.wav");
        let mut recording = Recording::create(&path).unwrap();
        record(&mut recording, &"v".repeat(120));
        // Read while it is still being written, as after a crash.
        assert_eq!(letters(&path).unwrap().len(), 100);
        std::mem::forget(recording);
    }

    #[test]
    fn samples_are_rounded_and_limited() {
        let cases = [
            (0.0, 0),
            (0.5, 16384),
            (-1.0, -32768),
            (1.0, 32767),
            (7.0, 32767),
            (-7.0, -32768),
            (0.6 / 32768.0, 1),
            (f32::NAN, 0),
        ];
        for (sample, expected) in cases {
            assert_eq!(to_i16(sample), expected, "{sample}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let Err(error) = Recording::create(Path::new("/nowhere/heard.wav")) else {
            panic!("created in a folder that does not exist");
        };
        assert!(error.to_string().starts_with("the recording /nowhere/heard.wav cannot be"));

        let folder = tempfile::tempdir().unwrap();
        let mut recording = Recording::create(&folder.path().join("long.wav")).unwrap();
        recording.written_ticks = MAX_TICKS;
        let error = recording.push(&SILENT_TICK, true).unwrap_err();
        assert!(matches!(error, RecordingError::Full(_)), "{error}");
    }
}
