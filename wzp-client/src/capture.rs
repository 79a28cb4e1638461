//! Where the voice comes from: a file, a tone or a microphone, in ticks of
//! 20 ms. Nothing here waits: a file is read before the call begins.

use std::path::Path;
use std::time::Duration;

use wzp_media::tone::Tone;
use wzp_media::wav::{self, WavError};
use wzp_media::{SILENT_TICK, TICK, TICK_SAMPLES, Tick};

use crate::cli::Options;
use crate::exit::Failure;
use crate::live::Microphone;

/// Largest WAV file that is taken, in bytes. It is held in memory; this much
/// is 46 minutes of 16-bit mono at 48 kHz.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Peak of the test tone relative to full scale: about as loud as speech.
const TONE_PEAK_DB: f64 = -12.0;

/// A voice to be sent.
pub(crate) enum Voice {
    /// Samples not yet sent begin at `next`.
    File { samples: Vec<f32>, next: usize },
    /// A tone for so many ticks.
    Tone { tone: Tone, ticks: u128 },
    /// Whatever is said, without an end.
    Microphone(Microphone),
}

impl Voice {
    /// The voice that the options name, if any.
    pub(crate) fn open(options: &Options) -> Result<Option<Self>, Failure> {
        if let Some(path) = &options.send_file {
            return Ok(Some(Self::File { samples: read(path)?, next: 0 }));
        }
        if let Some(length) = options.send_tone {
            return Ok(Some(Self::tone(length, options.tone_hz)));
        }
        if options.live {
            return Ok(Some(Self::Microphone(Microphone::open()?)));
        }
        Ok(None)
    }

    /// A tone whose length is rounded up to whole ticks.
    fn tone(length: Duration, hertz: f64) -> Self {
        let ticks = length.as_nanos().div_ceil(TICK.as_nanos());
        Self::Tone { tone: Tone::new(hertz, TONE_PEAK_DB), ticks }
    }

    /// The next 20 ms; `None` when everything has been said. The last tick of
    /// a file is filled up with silence.
    pub(crate) fn tick(&mut self) -> Result<Option<Tick>, Failure> {
        match self {
            Self::File { samples, next } => {
                let rest = &samples[*next..];
                if rest.is_empty() {
                    return Ok(None);
                }
                let length = rest.len().min(TICK_SAMPLES);
                let mut tick = SILENT_TICK;
                tick[..length].copy_from_slice(&rest[..length]);
                *next += length;
                Ok(Some(tick))
            }
            Self::Tone { ticks: 0, .. } => Ok(None),
            Self::Tone { tone, ticks } => {
                *ticks -= 1;
                Ok(Some(tone.tick()))
            }
            Self::Microphone(microphone) => microphone.tick().map(Some),
        }
    }
}

fn read(path: &Path) -> Result<Vec<f32>, Failure> {
    let unreadable =
        |source| Failure::Source(WavError::Unreadable { path: path.to_owned(), source });
    match path.metadata() {
        Ok(found) if found.is_file() && found.len() > MAX_FILE_BYTES => {
            Err(unreadable(std::io::Error::other(format!(
                "it has {} MiB; up to {} MiB can be sent",
                found.len() >> 20,
                MAX_FILE_BYTES >> 20
            ))))
        }
        Ok(found) if !found.is_file() => {
            Err(unreadable(std::io::Error::other("it is not a regular file")))
        }
        // What is wrong, if anything, is best told by who opens it.
        _ => wav::read(path).map_err(Failure::Source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(mut voice: Voice) -> Vec<Tick> {
        std::iter::from_fn(|| voice.tick().unwrap()).collect()
    }

    #[test]
    fn tones_are_rounded_up_to_whole_ticks() {
        for (millis, expected) in [(1, 1), (20, 1), (21, 2), (2000, 100)] {
            let tone = Voice::tone(Duration::from_millis(millis), 440.0);
            assert_eq!(ticks(tone).len(), expected, "{millis} ms");
        }
    }

    #[test]
    fn files_end_with_silence_up_to_the_tick() {
        let voice = Voice::File { samples: vec![0.5; TICK_SAMPLES + 1], next: 0 };
        let ticks = ticks(voice);
        assert_eq!(ticks.len(), 2);
        assert_eq!(ticks[0], [0.5; TICK_SAMPLES]);
        assert_eq!(ticks[1][0], 0.5);
        assert_eq!(ticks[1][1..], SILENT_TICK[1..]);
    }
}
