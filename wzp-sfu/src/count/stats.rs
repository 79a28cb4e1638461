//! What one shard counts. The shard's thread writes, scrapes read.

use super::number::Count;
use super::reason::{
    DropReason, EndReason, HandshakeFailure, PerReason, RefuseReason, ReportRefusal, SessionState,
    UnsentReason,
};
use super::turn::Turn;

/// All numbers of one shard that are not a room's.
#[derive(Debug, Default)]
pub struct ShardStats {
    /// Connections taken on.
    pub connections_accepted: Count,
    /// Connections refused at their first packet.
    pub connections_refused: PerReason<RefuseReason>,
    /// First packets answered with Retry.
    pub retries_sent: Count,
    /// Connections that are over; each accepted one ends here exactly once.
    pub connections_closed: PerReason<EndReason>,
    /// Accepted connections whose QUIC handshake was not completed.
    pub handshake_failures: PerReason<HandshakeFailure>,
    /// Connections that there are, each in one state.
    pub states: PerReason<SessionState>,
    /// Sessions that entered a room.
    pub sessions_joined: Count,
    /// Rooms that exist and have their home on this shard.
    pub rooms: Count,
    /// Joins, leaves and mutes that the members of such a room are told of.
    pub membership_changes: Count,
    /// Those of them that waited because the room had been told of others just before.
    pub membership_changes_deferred: Count,
    /// Messages that told a room, each counted once for all members and parts.
    pub membership_messages: Count,
    /// Media datagrams that came from participants.
    pub media_packets_received: Count,
    /// Their bytes, headers included.
    pub media_bytes_received: Count,
    /// Media datagrams handed to receivers' connections.
    pub media_packets_forwarded: Count,
    /// Their bytes, headers included.
    pub media_bytes_forwarded: Count,
    /// Media datagrams that were not forwarded.
    pub packets_dropped: PerReason<DropReason>,
    /// UDP packets received.
    pub udp_packets_received: Count,
    /// Their bytes, without UDP and IP headers.
    pub udp_bytes_received: Count,
    /// UDP packets that the kernel took.
    pub udp_packets_sent: Count,
    /// Their bytes, without UDP and IP headers.
    pub udp_bytes_sent: Count,
    /// UDP packets made that carry media.
    pub udp_packets_with_media: Count,
    /// UDP packets that never left.
    pub udp_unsent: PerReason<UnsentReason>,
    /// UDP packets that had to wait because a send buffer was full.
    pub udp_packets_held: Count,
    /// Those that wait now.
    pub udp_packets_waiting: Count,
    /// Sockets to send by.
    pub send_lanes: Count,
    /// Those whose buffer is full.
    pub send_lanes_full: Count,
    /// Times that a socket's buffer was found full.
    pub send_lane_fills: Count,
    /// For how long sockets were full, all together, in microseconds.
    pub send_lane_full_us: Count,
    /// Packets to sessions in rooms that were not acknowledged in time
    /// (RFC 9002 section 6.1).
    pub session_packets_lost: Count,
    /// Times their congestion windows were cut (RFC 9002 section 7.3.2).
    pub session_congestion_events: Count,
    /// What listeners reported of a sender and was ignored.
    pub reports_refused: PerReason<ReportRefusal>,
    /// What they reported that claimed more loss than there can be.
    pub reports_exaggerated: Count,
    /// UDP packets that came to this shard though their connection id names
    /// another. They are handed on and not lost.
    pub misrouted_packets: Count,
    /// UDP packets from another host than a session's that were dropped, because it
    /// had moved too often or not begun.
    pub moves_refused: Count,
    /// The kernel's number of the shard's thread (gettid(2)); 0 before it runs.
    pub thread: Count,
    /// Times that the shard failed and began again.
    pub failures: Count,
    /// It fails again and again: until so many milliseconds after the relay's start.
    pub failing_until_ms: Count,
    /// Whether the shard's thread gets on.
    pub turn: Turn,
}

impl ShardStats {
    /// UDP packets that the kernel did not take, for whatever reason.
    pub fn udp_send_errors(&self) -> u64 {
        self.udp_unsent.iter().map(|(_, count)| count).sum()
    }
}
