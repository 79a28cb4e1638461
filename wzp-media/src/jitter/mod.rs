//! The adaptive jitter buffer of one sender: decides for each tick what the
//! sender's decoder is to do. It never decodes, never reads a clock and holds a
//! bounded number of frames.
//!
//! The buffer keeps a playout point on the sender's clock and moves it by one
//! tick with each [`JitterBuffer::pull`]. *Slack* is how long the fastest frame
//! waits between its arrival and its playout; it is the delay that the buffer
//! adds. The target of the slack is what 99 of 100 frames need beyond the
//! fastest, plus a margin, plus one frame while there is loss, because a lost
//! frame is recovered from the one after it.
//!
//! What happens to the slack:
//!
//! * A talk spurt begins with the target, rounded up to the next tick.
//! * An underrun waits: the tick is concealed and the playout point stays, so
//!   that nothing is lost and the delay grows exactly when it has to. When the
//!   frame proves to be lost, the waiting counts as its concealment.
//! * Between spurts, when timestamps have a gap and sequence numbers have none,
//!   the silence becomes longer or shorter to meet the target.
//! * Within a spurt, ticks are inserted or merged only when the slack leaves a
//!   band around the target, at quiet frames if some come.
//! * On a steady path without loss nothing of this ever happens.

mod arrivals;
mod delay;
mod slack;
mod stream;

use std::time::Duration;

use wzp_proto::media::MediaHeader;

pub use self::arrivals::Settled;
use self::stream::Stream;

/// Most frames held: 2 s of the shortest.
pub const MAX_FRAMES: usize = 100;

/// Longest payload taken, in bytes: more does not fit into a datagram.
pub const MAX_PAYLOAD: usize = 1500;

/// Length of a tick, µs.
const TICK_US: i64 = 20_000;

/// What the decoder is to do for one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playout {
    /// Nothing: nobody talks.
    Silence,
    /// Background noise during a pause of the sender.
    Comfort,
    /// Decode a frame and play its first tick.
    Frame {
        /// The Opus packet.
        payload: Vec<u8>,
        /// Ticks that it should hold.
        ticks: usize,
        /// The sender started again: forget the decoder's state first.
        restarted: bool,
        /// Pull once more for the same tick and blend the two: the delay is to
        /// shrink.
        merge: bool,
    },
    /// Decode a lost frame out of the FEC of the one after it, which will be
    /// played later, and play its first tick.
    Recover {
        /// The Opus packet after the lost one.
        payload: Vec<u8>,
        /// Ticks of the lost frame.
        ticks: usize,
    },
    /// Play the next tick of the frame decoded last.
    Continue,
    /// Conceal a tick that was lost.
    Conceal,
    /// Conceal a tick while waiting for a frame that should have come.
    Wait,
    /// Conceal one tick more than was sent: the delay is to grow.
    Stretch,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It waits to be played.
    Queued,
    /// Its time had passed; dropped.
    Late,
    /// It came before; dropped.
    Duplicate,
    /// Far from everything before; kept aside until the next one confirms it.
    Strange,
    /// The payload is empty or longer than [`MAX_PAYLOAD`]; dropped.
    Malformed,
}

/// Totals since the sender's first frame, and the present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Frames that came, each counted once, even if late.
    pub frames_received: u64,
    /// Frames that should have come, by their sequence numbers.
    pub frames_expected: u64,
    /// Frames that have not come: expected less received. Some of them may be late.
    pub frames_lost: u64,
    /// The two without those that may still come: what a relay is told.
    pub settled: Settled,
    /// Frames that came after their time to be played.
    pub frames_late: u64,
    /// Frames that came again.
    pub frames_duplicate: u64,
    /// Frames, lost or late, played out of the FEC of the next.
    pub frames_recovered: u64,
    /// Ticks concealed without FEC, waiting included.
    pub ticks_concealed: u64,
    /// Ticks inserted to let the delay grow.
    pub ticks_inserted: u64,
    /// Ticks merged away to let the delay shrink.
    pub ticks_merged: u64,
    /// Times the buffer had nothing to play while the sender was talking.
    pub underruns: u64,
    /// Times the buffer had to throw voice away.
    pub overruns: u64,
    /// Times the sender was found to have started again.
    pub restarts: u64,
    /// Interarrival jitter, RFC 3550 section 6.4.1, in µs.
    pub jitter_us: u32,
    /// Voice waiting in the buffer, in ms.
    pub depth_ms: u32,
    /// Slack aimed at, in ms.
    pub target_ms: u32,
    /// Slack of the tick played last, in ms; less than 0 in an underrun.
    pub slack_ms: i32,
}

/// The jitter buffer of one sender.
#[derive(Debug, Default)]
pub struct JitterBuffer {
    /// None before the first frame.
    stream: Option<Stream>,
    /// A frame that does not belong to the stream so far.
    strange: Option<(Duration, MediaHeader, Vec<u8>)>,
    finishing: bool,
    stats: JitterStats,
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a frame that came at `now`.
    pub fn insert(&mut self, now: Duration, header: &MediaHeader, payload: &[u8]) -> Insert {
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return Insert::Malformed;
        }
        let now_us = micros(now);
        let Some(stream) = &mut self.stream else {
            self.stream = Some(Stream::begin(now_us, header, payload));
            return Insert::Queued;
        };
        if stream.continues(now_us, header) {
            self.strange = None;
            return stream.insert(now_us, header, payload, &mut self.stats);
        }
        // RFC 3550 appendix A.1: two frames in a row are believed.
        if let Some((then, first, first_payload)) = self.strange.take()
            && header.sequence == first.sequence.wrapping_add(1)
        {
            stream.restart(micros(then), &first, &first_payload, &mut self.stats);
            return self.insert(now, header, payload);
        }
        self.strange = Some((now, *header, payload.to_vec()));
        Insert::Strange
    }

    /// Decides the next tick, due at `now`. To be called once per 20 ms, and
    /// once more after [`Playout::Frame`] with `merge`.
    pub fn pull(&mut self, now: Duration) -> Playout {
        match &mut self.stream {
            Some(stream) => stream.pull(micros(now), self.finishing, &mut self.stats),
            None => Playout::Silence,
        }
    }

    /// The sender is gone: what is held is played without waiting for more.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Whether nothing is left to play.
    pub fn is_drained(&self) -> bool {
        self.stream.as_ref().is_none_or(Stream::is_drained)
    }

    /// Totals and the state at `now`.
    pub fn stats(&self, now: Duration) -> JitterStats {
        let mut stats = self.stats;
        if let Some(stream) = &self.stream {
            stream.describe(micros(now), &mut stats);
        }
        stats
    }
}

/// Bounded so that sums and differences of times stay far from overflow.
fn micros(duration: Duration) -> i64 {
    duration.as_micros().min(1 << 60) as i64
}

/// Back from [`micros`].
fn time(us: i64) -> Duration {
    Duration::from_micros(us.unsigned_abs())
}

#[cfg(test)]
mod tests;
