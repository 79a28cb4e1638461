//! What a voice endpoint of the WZP protocol needs: Opus, a jitter buffer, sound
//! files to send and recordings.
//!
//! Everything here is mono at 48 kHz in ticks of 20 ms. Nothing opens a socket
//! or reads a clock: time is given as a [`std::time::Duration`] since an
//! arbitrary start and must not go backwards.
//!
//! Sending: [`source`], [`tone`] → [`encoder`], steered by [`profile`].
//! Receiving: [`listener`] → [`talker`] → [`jitter`] → [`recording`].

use std::time::Duration;

pub mod encoder;
pub mod jitter;
pub mod level;
pub mod limiter;
pub mod listener;
pub mod packet;
pub mod profile;
pub mod recording;
pub mod source;
pub mod talker;
pub mod tone;

/// Samples per second of all audio in this crate.
pub const SAMPLE_RATE: u32 = wzp_proto::media::CLOCK_HZ;

/// Samples in one tick, 20 ms.
pub const TICK_SAMPLES: usize = 960;

/// Length of one tick.
pub const TICK: Duration = Duration::from_millis(20);

/// One tick of mono audio; full scale is -1.0 to 1.0.
pub type Tick = [f32; TICK_SAMPLES];

/// A tick of digital silence.
pub const SILENT_TICK: Tick = [0.0; TICK_SAMPLES];

/// Opus refused what this crate asked of it. With the fixed formats used here
/// that means lack of memory or a defect.
#[derive(Debug, thiserror::Error)]
#[error("Opus failed in {0}")]
pub struct CodecError(#[from] opus::Error);
