//! Whether a peer is still there. QUIC's own idle timer starts again with what the
//! relay sends to a dead peer (RFC 9000 section 10.1), so a member of a quiet room
//! would be shown for as long again as the relay waits between two Pings.

use std::time::{Duration, Instant};

use quinn_proto::{Connection, FrameStats};

/// When a peer was last heard, to the datagram, without a look at each.
#[derive(Debug)]
pub(crate) struct Presence {
    /// When the last datagram came that names the connection, whoever sent it.
    heard: Instant,
    /// Frames of packets that were the peer's, when last looked at.
    frames: u64,
    /// How long it may be silent.
    patience: Duration,
    /// When it is gone if it has said nothing since that look.
    deadline: Instant,
}

impl Presence {
    pub(crate) fn new(now: Instant, patience: Duration) -> Self {
        Self { heard: now, frames: 0, patience, deadline: now + patience }
    }

    /// A datagram came. Whether it is the peer's is known to who looks.
    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Looks whether the peer itself was heard since the last look. Anybody can send
    /// a datagram with a connection id that he saw, but only the peer frames: such a
    /// datagram puts off the deadline by what passes between two looks at most.
    pub(crate) fn look(&mut self, connection: &Connection) {
        let frames = frames(&connection.stats().frame_rx);
        if frames != self.frames {
            self.frames = frames;
            self.deadline = self.heard + self.patience;
        }
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// All that can be alone in a packet: what is asked again with a probe (RFC 9002
/// section 6.2.4) may be any of it.
fn frames(received: &FrameStats) -> u64 {
    [
        received.acks,
        received.ack_frequency,
        received.crypto,
        received.data_blocked,
        received.datagram,
        received.immediate_ack,
        received.max_data,
        received.max_stream_data,
        received.max_streams_bidi,
        received.max_streams_uni,
        received.new_connection_id,
        received.path_challenge,
        received.path_response,
        received.ping,
        received.reset_stream,
        received.retire_connection_id,
        received.stop_sending,
        received.stream,
        received.stream_data_blocked,
        received.streams_blocked_bidi,
        received.streams_blocked_uni,
    ]
    .into_iter()
    .fold(0, u64::wrapping_add)
}
