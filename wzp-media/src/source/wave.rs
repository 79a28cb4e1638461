//! WAV files: where the sound is in them, and how it is coded. The header is read
//! as players read it, not as the specification has it: sizes that were never
//! filled in, or are those of a stream without an end, chunks of any order and
//! kind, and formats that contradict themselves.
//!
//! Sources: Microsoft's "Multiple Channel Audio Data and WAVE Files" and mmreg.h,
//! EBU Tech 3306 (RF64).

use std::io::{self, ErrorKind, Read};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS, CODEC_ID_PCM_ALAW, CODEC_ID_PCM_F32BE,
    CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64BE, CODEC_ID_PCM_F64LE, CODEC_ID_PCM_MULAW,
    CODEC_ID_PCM_S16BE, CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S24BE, CODEC_ID_PCM_S24LE,
    CODEC_ID_PCM_S32BE, CODEC_ID_PCM_S32LE, CODEC_ID_PCM_U8,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use super::Reason;
use super::decoder::Decoder;

/// Bytes that tell a WAV file: form, size, `WAVE`.
pub(super) const MARK_BYTES: usize = 12;

/// Bytes of a format that are looked at: those of WAVEFORMATEXTENSIBLE.
const FORMAT_BYTES: usize = 40;

/// A size that nobody knew when it was written.
const UNKNOWN: u32 = u32::MAX;

/// Sizes from here on stand for a stream without an end if it is one: arecord and
/// others write 2 GiB, more or less.
const ENDLESS: u32 = 0x7fff_0000;

/// Bytes of sound that are decoded at a time, at most.
const PACKET_BYTES: usize = 64 * 1024;

/// Packets a second, at least: what a pipe brings must not wait for more.
const PACKETS_PER_SECOND: u64 = 50;

/// What a WAV file begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    order: Order,
    /// Of all that follows the size itself.
    size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = field(bytes, at);
        if self == Self::Big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = field(bytes, at);
        if self == Self::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Zeros where there is nothing.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|field| field.try_into().ok()).unwrap_or([0; N])
}

impl Form {
    /// None for other files.
    pub(super) fn of(mark: &[u8]) -> Option<Self> {
        let order = match mark.get(..4)? {
            b"RIFF" | b"RF64" | b"BW64" => Order::Little,
            b"RIFX" => Order::Big,
            _ => return None,
        };
        (mark.get(8..12)? == b"WAVE").then(|| Self { order, size: order.u32(mark, 4) })
    }
}

/// How the sound is coded.
struct Format {
    codec: AudioCodecId,
    channels: u16,
    rate: u32,
    /// Bytes that are decoded as one, and the samples of each channel in them.
    block_bytes: usize,
    block_samples: u64,
}

/// The sound of a WAV file, as packets.
pub(super) struct Wave {
    reader: Box<dyn Read + Send + Sync>,
    /// Bytes of sound still to come; `u64::MAX` if nobody knows.
    left: u64,
    /// Whether that is what the header says, and not just what its field can hold.
    is_told: bool,
    block_bytes: usize,
    block_samples: u64,
    /// In a packet.
    blocks: usize,
}

impl Wave {
    /// Reads up to the sound.
    pub(super) fn begin(
        mut reader: Box<dyn Read + Send + Sync>,
        form: Form,
        endless: bool,
    ) -> Result<(Self, Decoder), Reason> {
        let order = form.order;
        let mut format = None;
        let mut long_size = None;
        // Of the file, after the form's size.
        let mut position = 4_u64;
        let mut pad = None;
        loop {
            let header = chunk_header(&mut reader, pad.take())?;
            let size = order.u32(&header, 4);
            position += 8;
            match &header[..4] {
                b"ds64" => {
                    let content = head(&mut reader, size, 24)?;
                    long_size = Some(u64::from_le_bytes(field(&content, 8)));
                }
                b"fmt " => {
                    format = Some(Format::parse(&head(&mut reader, size, FORMAT_BYTES)?, order)?);
                }
                b"data" => {
                    let left = match size {
                        UNKNOWN => long_size.filter(|size| *size > 0).unwrap_or(u64::MAX),
                        ENDLESS.. if endless => u64::MAX,
                        // More chunks follow, or else it was never filled in.
                        0 if form.size != UNKNOWN && position < u64::from(form.size) => 0,
                        0 => u64::MAX,
                        size => size.into(),
                    };
                    if left > 0 {
                        let format = format.ok_or_else(|| damaged("its format is missing"))?;
                        return Self::at_sound(reader, &format, left);
                    }
                }
                _ => skip(&mut reader, size.into())?,
            }
            position += u64::from(size) + u64::from(size % 2);
            if size % 2 == 1 {
                pad = byte(&mut reader)?.filter(|pad| *pad != 0);
            }
        }
    }

    fn at_sound(
        reader: Box<dyn Read + Send + Sync>,
        format: &Format,
        left: u64,
    ) -> Result<(Self, Decoder), Reason> {
        let Format { block_bytes, block_samples, .. } = *format;
        let soon = u64::from(format.rate) / PACKETS_PER_SECOND / block_samples;
        let blocks = (PACKET_BYTES / block_bytes).min(soon as usize).max(1);
        let is_told = left < ENDLESS.into() || (left > UNKNOWN.into() && left < u64::MAX);
        let wave = Self { reader, left, is_told, block_bytes, block_samples, blocks };
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(format.codec)
            .with_sample_rate(format.rate)
            .with_channels(Channels::Discrete(format.channels))
            .with_frames_per_block(block_samples)
            .with_max_frames_per_packet(blocks as u64 * block_samples);
        let decoder = Decoder::new(&parameters, 0)?;
        Ok((wave, decoder))
    }

    /// The next packet; `None` at the end. Half a sample at the end is left out.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Error> {
        let wanted = ((self.blocks * self.block_bytes) as u64).min(self.left);
        let mut data = Vec::new();
        // What is there is played, although the file cannot be read further.
        match self.reader.by_ref().take(wanted).read_to_end(&mut data) {
            Err(error) if data.is_empty() => return Err(error.into()),
            _ => {}
        }
        self.left = if self.left == u64::MAX { self.left } else { self.left - data.len() as u64 };
        let blocks = data.len() / self.block_bytes;
        if blocks == 0 {
            return Ok(None);
        }
        data.truncate(blocks * self.block_bytes);
        let samples = Duration::from(blocks as u64 * self.block_samples);
        Ok(Some(Packet::new(0, Timestamp::ZERO, samples, data)))
    }

    /// Samples that the file ought to have and that have not come.
    pub(super) fn missing(&self) -> Option<u64> {
        self.is_told.then(|| self.left / self.block_bytes as u64 * self.block_samples)
    }
}

impl Format {
    fn parse(bytes: &[u8], order: Order) -> Result<Self, Reason> {
        const EXTENSIBLE: u16 = 0xfffe;
        if bytes.len() < 14 {
            return Err(damaged("its format is cut short"));
        }
        let channels = order.u16(bytes, 2);
        let rate = order.u32(bytes, 4);
        let block = order.u16(bytes, 12);
        let bits = order.u16(bytes, 14);
        let tag = match order.u16(bytes, 0) {
            EXTENSIBLE => order.u16(bytes, 24),
            tag => tag,
        };
        if channels == 0 {
            return Err(damaged("it has no channels"));
        }
        if tag == 2 || tag == 0x11 {
            return Self::adpcm(tag, channels, rate, block, bits);
        }
        let width = width(channels, block, bits);
        let pick = |little, big| if order == Order::Big { big } else { little };
        let codec = match (tag, width) {
            (1, 1) => CODEC_ID_PCM_U8,
            (1, 2) => pick(CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S16BE),
            (1, 3) => pick(CODEC_ID_PCM_S24LE, CODEC_ID_PCM_S24BE),
            (1, 4) => pick(CODEC_ID_PCM_S32LE, CODEC_ID_PCM_S32BE),
            (3, 4) => pick(CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F32BE),
            (3, 8) => pick(CODEC_ID_PCM_F64LE, CODEC_ID_PCM_F64BE),
            (6, 1) => CODEC_ID_PCM_ALAW,
            (7, 1) => CODEC_ID_PCM_MULAW,
            (tag, _) => return Err(Reason::Unsupported(kind(tag, bits))),
        };
        let block_bytes = usize::from(width) * usize::from(channels);
        Ok(Self { codec, channels, rate, block_bytes, block_samples: 1 })
    }

    /// Four bits a sample after a header of seven or four bytes for each channel.
    fn adpcm(tag: u16, channels: u16, rate: u32, block: u16, bits: u16) -> Result<Self, Reason> {
        let (codec, header, samples_in_header) = match tag {
            2 => (CODEC_ID_ADPCM_MS, 7, 2),
            _ => (CODEC_ID_ADPCM_IMA_WAV, 4, 1),
        };
        if bits != 4 || channels > 2 {
            let what = format!("ADPCM of {bits} bits and {channels} channels");
            return Err(Reason::Unsupported(what));
        }
        let coded = block
            .checked_sub(header * channels)
            .ok_or_else(|| damaged("its blocks are too short"))?;
        let block_samples = u64::from(coded) * 2 / u64::from(channels) + samples_in_header;
        Ok(Self { codec, channels, rate, block_bytes: block.into(), block_samples })
    }
}

/// Bytes of one sample of one channel: what the block is divided into, if that is
/// enough for the bits.
fn width(channels: u16, block: u16, bits: u16) -> u16 {
    let needed = bits.div_ceil(8);
    match block / channels {
        width if block.is_multiple_of(channels) && width >= needed && width <= 8 => width,
        _ => needed,
    }
}

/// What a format is called that cannot be played.
fn kind(tag: u16, bits: u16) -> String {
    let name = match tag {
        1 => return format!("integer samples of {bits} bits"),
        3 => return format!("float samples of {bits} bits"),
        0x31 => "GSM 6.10",
        0x40 | 0x45 | 0x64 => "G.726",
        0x42 => "G.723.1",
        0x50 => "MPEG layer 1 or 2 in a WAV file",
        0x55 => "MP3 in a WAV file",
        0x65 | 0x28f => "G.722",
        0x83 => "G.729",
        0x160..=0x163 => "Windows Media Audio",
        0xff | 0x1600..=0x1610 => "AAC in a WAV file",
        0x2000 => "AC-3 in a WAV file",
        0x674f..=0x6771 => "Vorbis in a WAV file",
        _ => return format!("sound of the format {tag:#06x}"),
    };
    name.to_owned()
}

fn damaged(what: &str) -> Reason {
    Reason::Damaged(what.to_owned())
}

/// Kind and size of the next chunk. `first` is its first byte, if that has been
/// read already: some programs leave out the byte after chunks of odd length.
fn chunk_header(reader: &mut impl Read, first: Option<u8>) -> Result<[u8; 8], Reason> {
    let mut header = [0; 8];
    let from = first.map_or(0, |first| {
        header[0] = first;
        1
    });
    match reader.read_exact(&mut header[from..]) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Reason::Empty),
        read => Ok(read.map(|()| header)?),
    }
}

/// The beginning of a chunk's content, which is passed over whole.
fn head(reader: &mut impl Read, size: u32, wanted: usize) -> Result<Vec<u8>, Reason> {
    let wanted = u64::from(size).min(wanted as u64);
    let mut content = Vec::new();
    reader.take(wanted).read_to_end(&mut content)?;
    skip(reader, u64::from(size) - wanted)?;
    Ok(content)
}

fn skip(reader: &mut impl Read, bytes: u64) -> io::Result<()> {
    io::copy(&mut reader.take(bytes), &mut io::sink()).map(drop)
}

fn byte(reader: &mut impl Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((reader.read(&mut byte)? == 1).then_some(byte[0]))
}
