//! What is said in a room, and how it is heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ids::RoomId;

/// Between shards that have members of one room. Stale within a second, so it may be
/// dropped.
#[derive(Debug)]
pub enum MediaMail {
    /// A member's voice for the members on this shard.
    Frame {
        /// The room.
        room: RoomId,
        /// Who said it.
        sender_id: u16,
        /// The whole media datagram.
        frame: Bytes,
        /// When it may wait no longer for company.
        due: Instant,
    },
    /// What a listener elsewhere hears of senders that may be here.
    Heard {
        /// The room.
        room: RoomId,
        /// The listener's own sender id.
        listener: u16,
        /// What was heard, by sender id.
        senders: Arc<[(u16, Hearing)]>,
    },
}

/// What a listener heard of one sender in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Frames that should have come, at least one.
    pub expected: u32,
    /// Those of them that did not.
    pub lost: u32,
    /// Loss on the way from the relay to the listener, as the relay knows it
    /// meanwhile, in parts per million.
    pub known_ppm: u32,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
    /// How long it took to gather.
    pub span: Duration,
}

impl Hearing {
    /// The loss claimed, in parts per million.
    pub(crate) fn claimed_ppm(&self) -> u64 {
        u64::from(self.lost.min(self.expected)) * 1_000_000 / u64::from(self.expected.max(1))
    }
}
