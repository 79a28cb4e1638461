//! WAV files put together by hand, right or wrong.

use std::f64::consts::TAU;

use crate::HERTZ;

/// A sine at half of full scale, from -1 to 1.
pub(crate) fn tone(rate: u32, seconds: f64) -> Vec<f64> {
    let samples = (f64::from(rate) * seconds) as u32;
    (0..samples).map(|at| 0.5 * (TAU * HERTZ * f64::from(at) / f64::from(rate)).sin()).collect()
}

/// Every sample on each of so many channels.
pub(crate) fn on(channels: usize, samples: &[f64]) -> Vec<f64> {
    samples.iter().flat_map(|sample| std::iter::repeat_n(*sample, channels)).collect()
}

/// Integer samples; those of 8 bits are unsigned.
pub(crate) fn pcm(samples: &[f64], bits: u32) -> Vec<u8> {
    let full = f64::from(2_u32.pow(bits - 1)) - 1.0;
    let bytes = bits as usize / 8;
    let coded = |sample: &f64| match bits {
        8 => vec![((sample + 1.0) * 127.5) as u8],
        _ => ((sample * full) as i32).to_le_bytes()[..bytes].to_vec(),
    };
    samples.iter().flat_map(coded).collect()
}

/// A chunk, padded to an even length.
pub(crate) fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    sized(kind, content, content.len() as u32)
}

/// A chunk that gives another size than it has.
pub(crate) fn sized(kind: &[u8; 4], content: &[u8], size: u32) -> Vec<u8> {
    let pad = &[0][..content.len() % 2];
    [kind, &size.to_le_bytes()[..], content, pad].concat()
}

/// The fields of a format, right ones by default.
#[derive(Clone, Copy)]
pub(crate) struct Format<'a> {
    pub(crate) tag: u16,
    pub(crate) channels: u16,
    pub(crate) rate: u32,
    pub(crate) bits: u16,
    pub(crate) block: Option<u16>,
    pub(crate) bytes_per_second: Option<u32>,
    pub(crate) more: &'a [u8],
}

impl Default for Format<'_> {
    fn default() -> Self {
        let (block, bytes_per_second) = (None, None);
        Self { tag: 1, channels: 1, rate: 48_000, bits: 16, block, bytes_per_second, more: &[] }
    }
}

impl Format<'_> {
    pub(crate) fn chunk(self) -> Vec<u8> {
        let block = self.block.unwrap_or(self.channels.wrapping_mul(self.bits.div_ceil(8)));
        let bytes_per_second =
            self.bytes_per_second.unwrap_or(self.rate.wrapping_mul(block.into()));
        let content = [
            &self.tag.to_le_bytes()[..],
            &self.channels.to_le_bytes(),
            &self.rate.to_le_bytes(),
            &bytes_per_second.to_le_bytes(),
            &block.to_le_bytes(),
            &self.bits.to_le_bytes(),
            self.more,
        ];
        chunk(b"fmt ", &content.concat())
    }
}

/// What makes a format extensible: valid bits, channel mask, the real tag.
pub(crate) fn extension(tag: u16, bits: u16, mask: u32, more: &[u8]) -> Vec<u8> {
    /// The rest of KSDATAFORMAT_SUBTYPE_PCM and its like.
    const SUBTYPE: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
    let size = 22 + more.len() as u16;
    [
        &size.to_le_bytes()[..],
        &bits.to_le_bytes(),
        &mask.to_le_bytes(),
        &tag.to_le_bytes(),
        &SUBTYPE,
        more,
    ]
    .concat()
}

/// A file of these chunks.
pub(crate) fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    file_sized(chunks, body.len() as u32 + 4)
}

/// A file that gives another size than it has.
pub(crate) fn file_sized(chunks: &[Vec<u8>], size: u32) -> Vec<u8> {
    [b"RIFF", &size.to_le_bytes()[..], b"WAVE", &chunks.concat()].concat()
}
