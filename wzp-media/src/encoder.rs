//! From ticks of microphone audio to the frames of media datagrams.

use opus::{Application, Bitrate, Channels, Encoder, Signal};
use wzp_proto::media::{AudioLevel, HEADER_LEN, MediaHeader, Profile};

use crate::{CodecError, SAMPLE_RATE, TICK_SAMPLES, Tick, level, packet};

/// Loss the encoder prepares for until somebody tells it better, in percent.
/// Preparing costs 0.1 of PESQ on a clean path and saves 0.7 at 5 % loss.
pub const INITIAL_EXPECTED_LOSS: u8 = 5;

/// What Opus is told to expect, in percent.
///
/// Opus takes it for more than a forecast: it decides whether FEC is coded, and
/// in which audio bandwidth. At 24 kbit/s there is no FEC below 6 %; from there
/// to 15 % it is coded in wide band; above, in super-wide band, for which the
/// bits do not suffice. At 16 kbit/s it is coded from 25 % on, in medium band.
/// At 6 kbit/s never. Wide-band PESQ of eight sentences, mean of six seeds:
///
/// | rate, told     | clean | 5 % lost | 10 % lost | 20 % lost |
/// |----------------|------:|---------:|----------:|----------:|
/// | 24 kbit/s,  0 %|   4.27|      3.17|       2.22|       1.60|
/// | 24 kbit/s, 10 %|   4.16|      3.87|       3.46|       2.72|
/// | 24 kbit/s, 15 %|   4.16|      3.89|       3.50|       2.77|
/// | 24 kbit/s, 20 %|   3.87|      3.66|       3.33|       2.67|
/// | 16 kbit/s, 10 %|   3.59|      2.71|       2.05|       1.49|
/// | 16 kbit/s, 25 %|   2.73|      2.67|       2.47|       2.12|
const fn told_to_opus(profile: Profile, expected_loss: u8) -> i32 {
    match (profile, expected_loss) {
        (_, 0) => 0,
        (Profile::Good, _) => 15,
        (Profile::Degraded, 1..=5) => 10,
        (Profile::Degraded, _) => 25,
        (Profile::Catastrophic, _) => 10,
    }
}

/// Opus's most careful search costs 1.3 % of a core per sender at 24 kbit/s
/// (measured on one 2-core virtual machine); there is no reason for less.
const COMPLEXITY: i32 = 10;

/// Ticks for which the voice flag outlives the encoder's last voice activity.
/// 100 ms bridge the gaps between syllables, and end before Opus starts to
/// leave out frames (200 ms).
const HANGOVER_TICKS: u32 = 5;

/// Longest packet: the datagram must fit into the smallest QUIC path MTU of
/// 1200 bytes. At these rates Opus needs less than 250.
const MAX_PAYLOAD: usize = 1000;

/// A frame no longer than this need not be sent (opus_encode, "2 bytes or
/// less"): the encoder is in DTX.
const DTX_PAYLOAD: usize = 2;

/// One frame, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// Complete header of the datagram.
    pub header: MediaHeader,
    /// The Opus packet.
    pub payload: Vec<u8>,
}

impl EncodedFrame {
    /// The media datagram: header, then payload.
    pub fn datagram(&self) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(HEADER_LEN + self.payload.len());
        datagram.extend_from_slice(&self.header.encode());
        datagram.extend_from_slice(&self.payload);
        datagram
    }
}

/// The voice of one sender: gathers ticks into frames of the current profile,
/// encodes and numbers them.
///
/// The timestamp follows the audio that was pushed. The sequence number follows
/// the frames that were returned. With DTX the encoder returns nothing while
/// nobody speaks, so a listener sees a gap in timestamps without a gap in
/// sequence numbers, and knows that it is silence and not loss. Every 400 ms
/// of silence one frame comes nevertheless and refreshes the background noise.
#[derive(Debug)]
pub struct VoiceEncoder {
    opus: Encoder,
    sender_id: u16,
    profile: Profile,
    next_profile: Profile,
    /// The loss that the encoder prepares for, in per cent.
    expected_loss: u8,
    sequence: u32,
    timestamp: u32,
    pending: Vec<f32>,
    ticks_since_voice: u32,
}

impl VoiceEncoder {
    /// An encoder for the sender that the relay numbered `sender_id`, in the
    /// profile GOOD, without DTX, expecting [`INITIAL_EXPECTED_LOSS`].
    ///
    /// # Errors
    /// [`CodecError`] when Opus cannot start.
    pub fn new(sender_id: u16) -> Result<Self, CodecError> {
        let mut opus = Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
        opus.set_complexity(COMPLEXITY)?;
        // Without this hint Opus may take music or a test tone for CELT, which
        // has neither FEC nor a voice activity mark.
        opus.set_signal(Signal::Voice)?;
        opus.set_inband_fec(true)?;
        let mut encoder = Self {
            opus,
            sender_id,
            profile: Profile::Good,
            next_profile: Profile::Good,
            expected_loss: INITIAL_EXPECTED_LOSS,
            sequence: 0,
            timestamp: 0,
            pending: Vec::with_capacity(Profile::Catastrophic.frame_ticks() as usize),
            ticks_since_voice: HANGOVER_TICKS,
        };
        encoder.configure()?;
        Ok(encoder)
    }

    /// Tells Opus the profile and the loss.
    fn configure(&mut self) -> Result<(), CodecError> {
        self.opus.set_bitrate(Bitrate::Bits(self.profile.bits_per_second() as i32))?;
        self.opus.set_packet_loss_perc(told_to_opus(self.profile, self.expected_loss))?;
        Ok(())
    }

    /// Changes to another profile with the next frame that begins.
    pub fn set_profile(&mut self, profile: Profile) {
        self.next_profile = profile;
    }

    /// The profile of the frame being gathered.
    pub fn profile(&self) -> Profile {
        if self.pending.is_empty() { self.next_profile } else { self.profile }
    }

    /// Prepares for the loss of so many frames, in percent. Each frame then
    /// carries the one before it once more: from 1 % on in GOOD, from 6 % on in
    /// DEGRADED. The 6 kbit/s of CATASTROPHIC leave no room for that.
    ///
    /// # Errors
    /// [`CodecError`] when Opus refuses.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), CodecError> {
        self.expected_loss = percent;
        self.configure()
    }

    /// Whether frames are left out while nobody speaks.
    ///
    /// # Errors
    /// [`CodecError`] when Opus refuses.
    pub fn set_dtx(&mut self, on: bool) -> Result<(), CodecError> {
        Ok(self.opus.set_dtx(on)?)
    }

    /// Takes the next 20 ms. Returns a frame when it is complete and not left
    /// out by DTX.
    ///
    /// # Errors
    /// [`CodecError`] when Opus fails; the frame is lost, the next may succeed.
    pub fn push(&mut self, tick: &Tick) -> Result<Option<EncodedFrame>, CodecError> {
        if self.pending.is_empty() && self.profile != self.next_profile {
            self.profile = self.next_profile;
            self.configure()?;
        }
        self.pending.extend_from_slice(tick);
        if self.pending.len() < self.profile.frame_ticks() as usize {
            return Ok(None);
        }
        self.encode()
    }

    /// Completes a frame that was begun with silence, so that nothing pushed
    /// so far stays behind. Returns nothing if none was begun.
    ///
    /// # Errors
    /// As [`VoiceEncoder::push`].
    pub fn finish(&mut self) -> Result<Option<EncodedFrame>, CodecError> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        self.pending.resize(self.profile.frame_ticks() as usize, 0.0);
        self.encode()
    }

    fn encode(&mut self) -> Result<Option<EncodedFrame>, CodecError> {
        let samples = std::mem::take(&mut self.pending);
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(samples.len() as u32);
        let minus_dbov = level::minus_dbov(&samples);
        let encoded = self.opus.encode_vec_float(&samples, MAX_PAYLOAD);
        let ticks = (samples.len() / TICK_SAMPLES) as u32;
        self.pending = samples;
        self.pending.clear();
        let payload = encoded?;

        if minus_dbov < 127 && packet::voice_activity(&payload) {
            self.ticks_since_voice = 0;
        } else {
            self.ticks_since_voice = self.ticks_since_voice.saturating_add(ticks);
        }
        if payload.len() <= DTX_PAYLOAD && self.opus.get_in_dtx()? {
            return Ok(None);
        }
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let voice = self.ticks_since_voice <= HANGOVER_TICKS;
        let header = MediaHeader {
            profile: self.profile,
            level: AudioLevel::new(minus_dbov, voice && minus_dbov < 127),
            sender_id: self.sender_id,
            sequence,
            timestamp,
        };
        Ok(Some(EncodedFrame { header, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SILENT_TICK;
    use crate::tone::Tone;

    /// Something Opus takes for voice: a tone of 200 Hz with overtones that
    /// comes and goes four times a second.
    fn voice() -> impl Iterator<Item = Tick> {
        let mut tones = [200.0, 400.0, 600.0, 1400.0].map(|hertz| Tone::new(hertz, -16.0));
        (0..).map(move |tick| {
            let loudness = if tick % 12 < 8 { 1.0 } else { 0.1 };
            let mut sum = SILENT_TICK;
            for tone in &mut tones {
                for (sample, add) in sum.iter_mut().zip(tone.tick()) {
                    *sample += add * loudness;
                }
            }
            sum
        })
    }

    fn encode(encoder: &mut VoiceEncoder, ticks: usize) -> Vec<EncodedFrame> {
        voice().take(ticks).filter_map(|tick| encoder.push(&tick).unwrap()).collect()
    }

    #[test]
    fn each_profile_has_its_frame_length_and_rate() {
        for profile in Profile::ALL {
            let mut encoder = VoiceEncoder::new(7).unwrap();
            encoder.set_profile(profile);
            let frames = encode(&mut encoder, 600);
            let ticks = profile.frame_ticks() as usize / TICK_SAMPLES;
            assert_eq!(frames.len(), 600 / ticks, "{}", profile.name());
            for (number, frame) in (0..).zip(&frames) {
                assert_eq!(frame.header.profile, profile);
                assert_eq!(frame.header.sender_id, 7);
                assert_eq!(frame.header.sequence, number);
                assert_eq!(frame.header.timestamp, number * profile.frame_ticks());
                assert_eq!(packet::ticks(&frame.payload), Some(ticks));
            }
            let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
            let rate = (bytes * 8 / 12) as f64 / f64::from(profile.bits_per_second());
            assert!((0.6..1.15).contains(&rate), "{}: {rate} of its rate", profile.name());
        }
    }

    #[test]
    fn fec_is_coded_when_loss_is_expected_and_the_rate_allows() {
        let cases = [
            (Profile::Good, 0, false),
            (Profile::Good, 1, true),
            (Profile::Good, INITIAL_EXPECTED_LOSS, true),
            (Profile::Good, 100, true),
            (Profile::Degraded, 5, false),
            (Profile::Degraded, 6, true),
            (Profile::Catastrophic, 30, false),
        ];
        for (profile, loss, fec) in cases {
            let mut encoder = VoiceEncoder::new(1).unwrap();
            encoder.set_profile(profile);
            encoder.set_expected_loss(loss).unwrap();
            let frames = encode(&mut encoder, 120);
            let with_fec = frames.iter().filter(|frame| packet::carries_fec(&frame.payload));
            let share = with_fec.count() as f64 / frames.len() as f64;
            let name = profile.name();
            assert_eq!(share > 0.5, fec, "{name} expecting {loss} %: share {share}");
            assert!(fec || share == 0.0, "{name} expecting {loss} %: share {share}");
        }
    }

    #[test]
    fn a_new_profile_begins_with_a_new_frame() {
        use Profile::{Catastrophic, Degraded, Good};
        let mut encoder = VoiceEncoder::new(1).unwrap();
        let mut frames = Vec::new();
        let switches = [(0, Catastrophic), (4, Good), (8, Degraded)];
        for (number, tick) in voice().take(11).enumerate() {
            for (at, profile) in switches {
                if at == number {
                    encoder.set_profile(profile);
                }
            }
            frames.extend(encoder.push(&tick).unwrap());
        }
        frames.extend(encoder.finish().unwrap());
        assert_eq!(encoder.finish().unwrap(), None, "nothing is left");
        let seen: Vec<_> = frames
            .iter()
            .map(|frame| {
                (frame.header.profile, frame.header.sequence, frame.header.timestamp / 960)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Catastrophic, 0, 0),
                (Catastrophic, 1, 3),
                (Good, 2, 6),
                (Good, 3, 7),
                (Degraded, 4, 8),
                (Degraded, 5, 10),
            ]
        );
    }

    #[test]
    fn dtx_leaves_gaps_in_timestamps_only() {
        let mut encoder = VoiceEncoder::new(1).unwrap();
        encoder.set_dtx(true).unwrap();
        let mut frames = encode(&mut encoder, 100);
        assert_eq!(frames.len(), 100);
        assert!(frames[50..].iter().all(|frame| frame.header.level.voice()));
        for _ in 0..200 {
            frames.extend(encoder.push(&SILENT_TICK).unwrap());
        }
        let silent = &frames[100..];
        // 200 ms before DTX begins, then a frame each 400 ms.
        assert!((15..40).contains(&silent.len()), "{} frames in 4 s", silent.len());
        assert!(!frames[frames.len() - 1].header.level.voice());
        assert_eq!(silent[3].header.level.minus_dbov(), 127);
        for pair in frames.windows(2) {
            assert_eq!(pair[1].header.sequence, pair[0].header.sequence + 1);
        }
        assert!(frames.last().unwrap().header.timestamp > 270 * 960);
    }

    #[test]
    fn the_datagram_is_header_and_payload() {
        let mut encoder = VoiceEncoder::new(513).unwrap();
        let frame = encode(&mut encoder, 1).remove(0);
        let datagram = frame.datagram();
        assert_eq!(MediaHeader::decode(&datagram), Ok((frame.header, &frame.payload[..])));
    }
}
