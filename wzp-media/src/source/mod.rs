//! Sound from a file or a pipe, as mono at 48 kHz: WAV of every kind, FLAC, Ogg
//! (Vorbis, Opus, FLAC) and MP3.
//!
//! What is read is decoded as it is asked for: a file of hours takes as much
//! memory as one of seconds, and a pipe need not end. Nothing is ever sought in,
//! so that files and pipes are the same thing here.
//!
//! Containers and codecs are those of symphonia, but for WAV files, whose headers
//! are read here ([`wave`]) because symphonia refuses many of which others play
//! what is in them, and for Opus, which is that of the calls.

mod container;
mod damage;
mod decoder;
mod pages;
mod resampler;
mod wave;

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::Path;

use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use crate::{SILENT_TICK, TICK_SAMPLES, Tick};
use container::Container;
use damage::Damages;
pub use damage::{Damage, What};
use decoder::Decoder;
use resampler::Resampler;
use wave::Wave;

/// Rates taken, Hz. Others are mistakes in the header.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=1_536_000;

/// Packets in a row that may be damaged before it is none of them.
const DAMAGED: usize = 100;

/// Why a source cannot be played. The text begins with its name.
#[derive(Debug, thiserror::Error)]
#[error("{name} {reason}")]
pub struct SourceError {
    name: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// There is no such file.
    #[error("does not exist")]
    NotFound,
    /// The system refuses.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// Nothing in it is known.
    #[error("is not a sound file that is known here: WAV, FLAC, Ogg (Vorbis, Opus) and MP3 are")]
    Unknown,
    /// It is of a kind that is known, and damaged.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// It is of a kind that is known, and holds what cannot be played.
    #[error("holds {0}, which cannot be played here; convert it to WAV with 16 bits, for example")]
    Unsupported(String),
    /// It holds no sound.
    #[error("has no sound in it")]
    Empty,
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::UnexpectedEof => Self::Damaged("it ends within its header".to_owned()),
            _ => Self::Unreadable(error),
        }
    }
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error {
            Error::IoError(error) => error.into(),
            Error::Unsupported(what) => Self::Unsupported(format!("something unusual ({what})")),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// What packets of coded sound come from.
enum Packets {
    Wave(Wave),
    Container(Container),
}

impl Packets {
    /// The next packet; `None` at the end.
    fn next(&mut self) -> Result<Option<Packet>, Error> {
        match self {
            Self::Wave(wave) => wave.next(),
            Self::Container(container) => container.next(),
        }
    }

    /// A place that is damaged, as samples from the beginning.
    fn damage(&mut self) -> Option<u64> {
        match self {
            Self::Wave(_) => None,
            Self::Container(container) => container.damage(),
        }
    }

    /// Samples that have not come by the end, if that is known.
    fn missing(&self) -> Option<u64> {
        match self {
            Self::Wave(wave) => wave.missing(),
            Self::Container(container) => container.missing(),
        }
    }
}

/// A sound being played.
pub struct Source {
    name: String,
    packets: Packets,
    decoder: Decoder,
    resampler: Resampler,
    /// Mono at the source's rate, of the last packet.
    mono: Vec<f32>,
    /// At 48 kHz, not yet given away.
    samples: Vec<f32>,
    ended: bool,
    damages: Damages,
}

impl Source {
    /// A file, a named pipe or a device.
    ///
    /// # Errors
    /// [`SourceError`], naming the file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => {
                let endless = file.metadata().is_ok_and(|found| !found.is_file());
                Self::new(name, file, endless)
            }
            Err(error) => Err(SourceError { name, reason: error.into() }),
        }
    }

    /// Whatever can be read from, such as standard input; `name` is how errors
    /// call it.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(
        name: &str,
        reader: impl Read + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        Self::new(name.to_owned(), reader, true)
    }

    /// Reads up to the first sound, so that what cannot be played is known.
    fn new(
        name: String,
        reader: impl Read + Send + Sync + 'static,
        endless: bool,
    ) -> Result<Self, SourceError> {
        let begin = || {
            let (packets, decoder) = begin(reader, endless)?;
            if !RATES.contains(&decoder.rate()) {
                return Err(Reason::Unsupported(format!("sound of {} Hz", decoder.rate())));
            }
            let resampler = Resampler::new(decoder.rate()).map_err(|reason| {
                Reason::Unsupported(format!("{} Hz: {reason}", decoder.rate()))
            })?;
            let damages = Damages::new(decoder.rate());
            Ok((packets, decoder, resampler, damages))
        };
        let (packets, decoder, resampler, damages) = match begin() {
            Ok(parts) => parts,
            Err(reason) => return Err(SourceError { name, reason }),
        };
        let mut source = Self {
            name,
            packets,
            decoder,
            resampler,
            mono: Vec::new(),
            samples: Vec::new(),
            ended: false,
            damages,
        };
        source.fill(1)?;
        match source.samples.is_empty() {
            true => Err(source.error(Reason::Empty)),
            false => Ok(source),
        }
    }

    /// The next 20 ms; `None` when there is no more. The last tick is filled up
    /// with silence. What a file of floats holds beyond full scale is cut off. The
    /// channels are averaged.
    ///
    /// A source of `n` samples at rate `r` gives `n * 48000 / r` samples, rounded,
    /// without a shift in time. One that ends early is played as far as it goes.
    ///
    /// # Errors
    /// [`SourceError`] when the system refuses to read on, or nothing of what
    /// comes can be decoded.
    pub fn tick(&mut self) -> Result<Option<Tick>, SourceError> {
        self.fill(TICK_SAMPLES)?;
        let length = self.samples.len().min(TICK_SAMPLES);
        if length == 0 {
            return Ok(None);
        }
        let mut tick = SILENT_TICK;
        tick[..length].copy_from_slice(&self.samples[..length]);
        self.samples.drain(..length);
        Ok(Some(tick))
    }

    /// What has been found to be damaged and was not told yet; it may be somewhat ahead
    /// of what was given away. The rest is played all the same.
    pub fn damage(&mut self) -> Option<Damage> {
        self.damages.next()
    }

    /// All that is left.
    ///
    /// # Errors
    /// Those of [`Self::tick`].
    pub fn rest(mut self) -> Result<Vec<f32>, SourceError> {
        self.fill(usize::MAX)?;
        Ok(self.samples)
    }

    /// Decodes until so many samples are there, or the end is reached.
    fn fill(&mut self, wanted: usize) -> Result<(), SourceError> {
        let mut damaged = 0;
        while self.samples.len() < wanted && !self.ended {
            let decoded = match self.packets.next() {
                Ok(Some(packet)) => self.decoder.decode(&packet, &mut self.mono),
                Ok(None) | Err(Error::ResetRequired) => {
                    self.end(false);
                    continue;
                }
                // What was written before it was cut short is played.
                Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.end(true);
                    continue;
                }
                Err(error @ Error::DecodeError(_)) => Err(error.into()),
                Err(error) => return Err(self.error(error.into())),
            };
            self.look_for_damage();
            match decoded {
                Ok(()) => {
                    damaged = 0;
                    self.damages.played(self.mono.len());
                    self.resampler.push(&self.mono, &mut self.samples);
                }
                // Others may be sound.
                Err(_) if damaged < DAMAGED => {
                    damaged += 1;
                    self.damages.unreadable(None);
                }
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(())
    }

    fn look_for_damage(&mut self) {
        while let Some(sample) = self.packets.damage() {
            self.damages.unreadable(Some(sample));
        }
    }

    /// There is no more. `cut` if it is known that there should be.
    fn end(&mut self, cut: bool) {
        self.ended = true;
        self.look_for_damage();
        self.damages.end(cut, self.packets.missing());
        self.resampler.finish(&mut self.samples);
    }

    fn error(&self, reason: Reason) -> SourceError {
        SourceError { name: self.name.clone(), reason }
    }
}

/// All of a file, mono at 48 kHz.
///
/// # Errors
/// [`SourceError`], naming the file.
pub fn read(path: &Path) -> Result<Vec<f32>, SourceError> {
    Source::open(path)?.rest()
}

fn begin(
    mut reader: impl Read + Send + Sync + 'static,
    endless: bool,
) -> Result<(Packets, Decoder), Reason> {
    let mut first = Vec::with_capacity(wave::MARK_BYTES);
    reader.by_ref().take(wave::MARK_BYTES as u64).read_to_end(&mut first)?;
    match wave::Form::of(&first) {
        Some(form) => {
            let (wave, decoder) = Wave::begin(Box::new(reader), form, endless)?;
            Ok((Packets::Wave(wave), decoder))
        }
        None => {
            let whole = Cursor::new(first.clone()).chain(reader);
            let (container, decoder) = Container::begin(&first, whole)?;
            Ok((Packets::Container(container), decoder))
        }
    }
}
