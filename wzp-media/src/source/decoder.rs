//! From packets to mono: by symphonia's decoders, or by Opus.

use opus::Channels;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::Packet;
use symphonia::default::get_codecs;

use super::Reason;
use crate::SAMPLE_RATE;

/// Samples in the longest Opus packet, 120 ms (RFC 6716 section 3.2.5).
const MAX_OPUS_SAMPLES: usize = 5760;

/// Where the channel mapping family is in an Opus identification header
/// (RFC 7845 section 5.1). Only family 0, mono and stereo, is one Opus stream.
const MAPPING_FAMILY: usize = 18;

/// Decodes the packets of one track.
pub(super) struct Decoder {
    codec: Codec,
    rate: u32,
    channels: usize,
    interleaved: Vec<f32>,
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    /// The rest of the pre-skip (RFC 7845 section 4.2) goes with it.
    Opus(opus::Decoder, usize),
}

impl Decoder {
    /// For that codec. `delay` is how many samples come before the sound.
    pub(super) fn new(parameters: &AudioCodecParameters, delay: u32) -> Result<Self, Reason> {
        let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
        let rate = parameters.sample_rate.unwrap_or(0);
        if channels == 0 {
            return Err(Reason::Damaged("it has no channels".to_owned()));
        }
        let codec = match parameters.codec {
            CODEC_ID_OPUS => opus(parameters, channels, delay)?,
            _ => {
                let options = AudioDecoderOptions::default();
                Codec::Symphonia(get_codecs().make_audio_decoder(parameters, &options)?)
            }
        };
        Ok(Self { codec, rate, channels, interleaved: Vec::new() })
    }

    /// Samples per second.
    pub(super) const fn rate(&self) -> u32 {
        self.rate
    }

    /// Replaces what is in `mono` by what is in the packet, within full scale.
    pub(super) fn decode(&mut self, packet: &Packet, mono: &mut Vec<f32>) -> Result<(), Reason> {
        match &mut self.codec {
            Codec::Symphonia(decoder) => {
                let decoded = decoder.decode(packet)?;
                decoded.copy_to_vec_interleaved(&mut self.interleaved);
            }
            Codec::Opus(decoder, skip) => {
                self.interleaved.resize(MAX_OPUS_SAMPLES * self.channels, 0.0);
                let samples = decoder
                    .decode_float(&packet.data, &mut self.interleaved, false)
                    .map_err(|error| Reason::Damaged(error.to_string()))?;
                let skipped = samples.min(*skip);
                *skip -= skipped;
                let end = samples - trimmed(packet).min(samples - skipped);
                self.interleaved.truncate(end * self.channels);
                self.interleaved.drain(..skipped * self.channels);
            }
        }
        let scale = 1.0 / self.channels as f32;
        let average = |sample: &[f32]| within_full_scale(sample.iter().sum::<f32>() * scale);
        mono.clear();
        mono.extend(self.interleaved.chunks_exact(self.channels).map(average));
        Ok(())
    }
}

/// Samples at the end of the last packet that are none of the sound.
fn trimmed(packet: &Packet) -> usize {
    usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX)
}

fn opus(parameters: &AudioCodecParameters, channels: usize, delay: u32) -> Result<Codec, Reason> {
    let family = parameters.extra_data.as_ref().and_then(|header| header.get(MAPPING_FAMILY));
    let layout = match (family, channels) {
        (Some(0), 1) => Channels::Mono,
        (Some(0), 2) => Channels::Stereo,
        _ => return Err(Reason::Unsupported(format!("Opus with {channels} channels"))),
    };
    let decoder = opus::Decoder::new(SAMPLE_RATE, layout);
    let decoder = decoder.map_err(|error| Reason::Unsupported(error.to_string()))?;
    Ok(Codec::Opus(decoder, delay as usize))
}

/// Files may hold anything; codecs and ears may not take it.
fn within_full_scale(sample: f32) -> f32 {
    if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }
}
