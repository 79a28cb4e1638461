//! What was heard, as a WAV file: mono, 48 kHz, 16 bits.
//!
//! Every tick is in it, silence too, so it is as long as the time that was recorded. Once a
//! second the sound is written and then the header brought up to date, so that a crash loses
//! no more than that and leaves a file that can be played.
//!
//! A pipe or a device is written to at once: somebody may be listening to it. Its header has
//! the sizes of a stream without an end.

mod target;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{SAMPLE_RATE, TICK_SAMPLES, Tick};
pub use target::Prepared;

/// Ticks between two writes: 1 s.
const FLUSH_TICKS: usize = 50;

/// Bytes of a tick.
const TICK_BYTES: usize = 2 * TICK_SAMPLES;

/// Bytes before the sound.
const HEADER_BYTES: u64 = 44;

/// Bytes of sound in the longest file. A WAV header counts up to 4 GiB; this is
/// just below, 12 hours and 25 minutes.
const MAX_BYTES: u64 = (u32::MAX as u64 - 1024) / TICK_BYTES as u64 * TICK_BYTES as u64;

/// Why a recording cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be created or written.
    #[error("the recording {name} cannot be written: {source}")]
    Write {
        /// The file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is as long as a WAV file can be.
    #[error("the recording {0} is full: a WAV file ends at 4 GiB")]
    Full(String),
}

/// A WAV file being written.
pub struct Recording {
    name: String,
    file: File,
    /// Nobody can go back in it.
    stream: bool,
    /// Sound that is not yet in the file.
    waiting: Vec<u8>,
    /// Bytes of sound in the file.
    written: u64,
}

impl Recording {
    /// A recording to `path` that replaces at once what is there.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn create(path: &Path) -> Result<Self, RecordingError> {
        Prepared::beside(path)?.begin()
    }

    fn new(name: String, file: File, stream: bool) -> Self {
        Self { name, file, stream, waiting: Vec::new(), written: 0 }
    }

    /// Takes the next tick of the mix.
    ///
    /// # Errors
    /// [`RecordingError`]; what was written before stays.
    pub fn push(&mut self, tick: &Tick) -> Result<(), RecordingError> {
        if !self.stream && self.written + self.waiting.len() as u64 >= MAX_BYTES {
            self.flush()?;
            return Err(RecordingError::Full(self.name.clone()));
        }
        self.waiting.extend(tick.iter().flat_map(|sample| to_i16(*sample).to_le_bytes()));
        match self.stream || self.waiting.len() >= FLUSH_TICKS * TICK_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Length of the recording so far, in samples.
    pub fn samples(&self) -> u64 {
        (self.written + self.waiting.len() as u64) / 2
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn finish(mut self) -> Result<(), RecordingError> {
        self.flush()
    }

    /// First the sound, then the header that tells of it.
    fn flush(&mut self) -> Result<(), RecordingError> {
        let length = self.waiting.len() as u64;
        let flushed = match self.stream {
            true => self.file.write_all(&self.waiting),
            false => self
                .file
                .write_all_at(&self.waiting, HEADER_BYTES + self.written)
                .and_then(|()| self.file.write_all_at(&header(Some(self.written + length)), 0)),
        };
        flushed.map_err(|source| RecordingError::Write { name: self.name.clone(), source })?;
        self.written += length;
        self.waiting.clear();
        Ok(())
    }
}

/// The header of a file with so many bytes of sound, or of a stream.
fn header(sound: Option<u64>) -> [u8; HEADER_BYTES as usize] {
    // MAX_BYTES keeps both below.
    let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let sound = sound.unwrap_or(u32::MAX.into());
    let parts: [&[u8]; 12] = [
        b"RIFF",
        &size(sound + HEADER_BYTES - 8),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        // Integer samples of one channel.
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &SAMPLE_RATE.to_le_bytes(),
        &(2 * SAMPLE_RATE).to_le_bytes(),
        // Bytes, and bits, of a sample.
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &size(sound),
    ];
    let mut header = [0; HEADER_BYTES as usize];
    let mut bytes = parts.into_iter().flatten();
    header.fill_with(|| bytes.next().copied().unwrap_or(0));
    header
}

/// To the nearest step; the inverse of dividing by 32768 as [`crate::source`] does.
fn to_i16(sample: f32) -> i16 {
    // The cast saturates.
    (sample * 32768.0).round() as i16
}

#[cfg(test)]
mod tests;
