//! One sender as a listener hears it: its jitter buffer and its decoder.

use std::collections::VecDeque;
use std::time::Duration;

use opus::{Channels, Decoder};
use wzp_proto::media::MediaHeader;

use crate::jitter::{Insert, JitterBuffer, JitterStats, Playout};
use crate::{CodecError, SAMPLE_RATE, SILENT_TICK, TICK_SAMPLES, Tick, packet};

/// Samples in the longest frame of any profile, 60 ms.
const MAX_FRAME_SAMPLES: usize = 3 * TICK_SAMPLES;

/// What a listener has to say about one sender: the fields of the protocol's
/// `SourceReport` and, in [`JitterStats`], what lies behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStats {
    /// The sender, as the relay numbered it.
    pub sender_id: u16,
    /// Frames that should have come, by their sequence numbers up to
    /// `through_sequence`.
    pub frames_expected: u32,
    /// Those of them that did not.
    pub frames_lost: u32,
    /// The last sequence number of which it is settled whether it came.
    pub through_sequence: u32,
    /// Frames that came after their time to be played.
    pub frames_late: u32,
    /// Interarrival jitter, RFC 3550 section 6.4.1, in µs.
    pub jitter_us: u32,
    /// Voice waiting in the jitter buffer, in ms.
    pub buffer_depth_ms: u32,
    /// Times the buffer had nothing to play while the sender was talking.
    pub underruns: u32,
    /// Times the buffer had to throw voice away.
    pub overruns: u32,
    /// Time since its last frame came.
    pub silent_for: Duration,
    /// Frames that Opus could not decode, and that were concealed.
    pub frames_corrupt: u64,
    /// The jitter buffer's own figures.
    pub jitter: JitterStats,
}

/// Receives, buffers and decodes the frames of one sender.
#[derive(Debug)]
pub struct Talker {
    buffer: JitterBuffer,
    decoder: Decoder,
    /// Ticks decoded but not played.
    decoded: VecDeque<Tick>,
    /// The tick played last was not silence.
    sounding: bool,
    /// When the last frame came.
    last: Duration,
    frames_corrupt: u64,
}

impl Talker {
    /// A talker of whom nothing has been heard.
    ///
    /// # Errors
    /// [`CodecError`] when Opus cannot start.
    pub fn new() -> Result<Self, CodecError> {
        Ok(Self {
            buffer: JitterBuffer::new(),
            decoder: Decoder::new(SAMPLE_RATE, Channels::Mono)?,
            decoded: VecDeque::new(),
            sounding: false,
            last: Duration::ZERO,
            frames_corrupt: 0,
        })
    }

    /// Takes a frame that came at `now`.
    pub fn receive(&mut self, now: Duration, header: &MediaHeader, payload: &[u8]) -> Insert {
        self.last = now;
        let insert = self.buffer.insert(now, header, payload);
        self.frames_corrupt += u64::from(insert == Insert::Malformed);
        insert
    }

    /// The tick due at `now`, and whether it is something the sender said. It
    /// is not during its pauses, and not while an underrun is concealed. To be
    /// called every 20 ms.
    pub fn pull(&mut self, now: Duration) -> (Tick, bool) {
        match self.buffer.pull(now) {
            Playout::Silence => (self.fall_silent(), false),
            Playout::Comfort | Playout::Wait => (self.conceal(), false),
            Playout::Conceal | Playout::Stretch => (self.conceal(), true),
            Playout::Continue => (self.next_decoded(), true),
            Playout::Recover { payload, ticks } => {
                self.decode(&payload, ticks, true);
                (self.next_decoded(), true)
            }
            Playout::Frame { payload, ticks, restarted, merge } => {
                if restarted && self.decoder.reset_state().is_err() {
                    self.frames_corrupt += 1;
                }
                self.decode(&payload, ticks, false);
                let tick = self.next_decoded();
                if !merge {
                    return (tick, true);
                }
                let (next, _) = self.pull(now);
                (blend(&tick, &next), true)
            }
        }
    }

    /// The sender is gone; what it said is still played.
    pub fn finish(&mut self) {
        self.buffer.finish();
    }

    /// Whether nothing is left to be heard.
    pub fn is_drained(&self) -> bool {
        self.buffer.is_drained() && !self.sounding
    }

    /// Time since its last frame came, at `now`.
    pub fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last)
    }

    /// Figures at `now`, for the sender of that number.
    pub fn stats(&self, now: Duration, sender_id: u16) -> SourceStats {
        let jitter = self.buffer.stats(now);
        let saturate = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        SourceStats {
            sender_id,
            frames_expected: saturate(jitter.settled.expected),
            frames_lost: saturate(jitter.settled.lost),
            through_sequence: jitter.settled.through,
            frames_late: saturate(jitter.frames_late),
            jitter_us: jitter.jitter_us,
            buffer_depth_ms: jitter.depth_ms,
            underruns: saturate(jitter.underruns),
            overruns: saturate(jitter.overruns),
            silent_for: self.silent_for(now),
            frames_corrupt: self.frames_corrupt,
            jitter,
        }
    }

    /// Decodes a frame or, with `fec`, the one before it. A packet that Opus
    /// refuses, or that is not as long as its header says, is concealed.
    fn decode(&mut self, payload: &[u8], ticks: usize, fec: bool) {
        self.decoded.clear();
        self.sounding = true;
        let mut samples = [0.0; MAX_FRAME_SAMPLES];
        let samples = &mut samples[..ticks * TICK_SAMPLES];
        let sound = packet::ticks(payload) == Some(ticks)
            && self.decoder.decode_float(payload, samples, fec).is_ok();
        if sound {
            let (whole, _) = samples.as_chunks::<TICK_SAMPLES>();
            self.decoded.extend(whole);
        } else {
            self.frames_corrupt += 1;
            for _ in 0..ticks {
                let concealed = self.conceal();
                self.decoded.push_back(concealed);
            }
        }
    }

    fn next_decoded(&mut self) -> Tick {
        self.decoded.pop_front().unwrap_or(SILENT_TICK)
    }

    /// Opus's guess at what comes next; background noise in a pause.
    fn conceal(&mut self) -> Tick {
        self.sounding = true;
        let mut tick = SILENT_TICK;
        // An empty packet is how Opus is told of a loss; if it fails, silence
        // is the better guess.
        if self.decoder.decode_float(&[], &mut tick, false).is_err() {
            tick = SILENT_TICK;
        }
        tick
    }

    /// Silence; after sound, first a tick that fades out.
    fn fall_silent(&mut self) -> Tick {
        if !self.sounding {
            return SILENT_TICK;
        }
        let tick = blend(&self.conceal(), &SILENT_TICK);
        self.sounding = false;
        tick
    }
}

/// From the beginning of one tick to the end of another.
fn blend(from: &Tick, to: &Tick) -> Tick {
    std::array::from_fn(|index| {
        let share = (index as f32 + 0.5) / TICK_SAMPLES as f32;
        from[index] * (1.0 - share) + to[index] * share
    })
}
