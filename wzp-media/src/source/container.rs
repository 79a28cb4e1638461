//! FLAC, Ogg and MP3 files, taken apart by symphonia.

use std::io::Read;
use std::sync::mpsc::{Receiver, channel};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::default::get_probe;

use super::Reason;
use super::decoder::Decoder;
use super::pages::{self, Watched};

/// The packets of one track of a file.
pub(super) struct Container {
    format: Box<dyn FormatReader>,
    track: u32,
    /// Samples of the sound, if the file says so.
    samples: Option<u64>,
    /// Up to which sample packets have come.
    reached: Option<u64>,
    /// Where samples were missing before the last packet.
    gap: Option<u64>,
    /// Of an Ogg file, whose packets have times that say nothing of what is missing: the
    /// granule positions before broken pages, and what these begin with.
    broken_pages: Option<(Receiver<u64>, u64)>,
}

impl Container {
    /// Finds out what it is, and what decodes it. It begins with these bytes.
    pub(super) fn begin(
        first: &[u8],
        reader: impl Read + Send + Sync + 'static,
    ) -> Result<(Self, Decoder), Reason> {
        let (found, broken_pages) = channel();
        let is_ogg = first.starts_with(pages::MARK);
        let source: Box<dyn MediaSource> = match is_ogg {
            true => Box::new(ReadOnlySource::new(Watched::new(reader, found))),
            false => Box::new(ReadOnlySource::new(reader)),
        };
        let stream = MediaSourceStream::new(source, Default::default());
        let (formats, tags) = (FormatOptions::default(), MetadataOptions::default());
        let format = get_probe().probe(&Hint::new(), stream, formats, tags);
        let format = format.map_err(|error| match error {
            Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Reason::Unknown
            }
            Error::Unsupported(_) => Reason::Unknown,
            error => error.into(),
        })?;
        let track = format.default_track(TrackType::Audio).ok_or(Reason::Empty)?;
        let Some(CodecParameters::Audio(codec)) = &track.codec_params else {
            return Err(Reason::Unsupported("sound of an unknown kind".to_owned()));
        };
        let delay = track.delay.unwrap_or(0);
        let decoder = Decoder::new(codec, delay)?;
        // Those of Opus count the samples before the sound, too (RFC 7845 section 4).
        let before = if codec.codec == CODEC_ID_OPUS { delay.into() } else { 0 };
        let container = Self {
            track: track.id,
            samples: track.num_frames,
            reached: None,
            gap: None,
            broken_pages: is_ogg.then_some((broken_pages, before)),
            format,
        };
        Ok((container, decoder))
    }

    /// The next packet; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Error> {
        loop {
            let Some(packet) = self.format.next_packet()? else { return Ok(None) };
            if packet.track_id != self.track {
                continue;
            }
            let begins = u64::try_from(packet.pts.get()).unwrap_or(0);
            self.gap = self.reached.filter(|reached| begins > *reached);
            self.reached = Some(begins.saturating_add(packet.dur.get()));
            return Ok(Some(packet));
        }
    }

    /// A place that is damaged and was passed over with the last packets, or is about to
    /// be, as samples from the beginning.
    pub(super) fn damage(&mut self) -> Option<u64> {
        match &self.broken_pages {
            Some((broken, before)) => {
                broken.try_recv().ok().map(|granule| granule.saturating_sub(*before))
            }
            None => self.gap.take(),
        }
    }

    /// Samples that the file ought to have and that have not come.
    pub(super) fn missing(&self) -> Option<u64> {
        Some(self.samples?.saturating_sub(self.reached.unwrap_or(0)))
    }
}
