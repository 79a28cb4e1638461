//! What a peer may do. Every limit has a default, a key, a metric that counts
//! when it bites, and an error that the peer can read.

use std::time::Duration;

use serde::Deserialize;
use wzp_proto::control;
use wzp_proto::framing::MAX_MESSAGE_BYTES;
use wzp_proto::media::HEADER_LEN;

use super::{ConfigError, duration};

/// Longest media datagram that every path carries: 1200 bytes of UDP payload
/// (RFC 9000 section 14) less the QUIC header, tag and frame header.
pub const MAX_FRAME_BYTES: u32 = 1150;

/// `[limits]`. The metric that counts when a limit bites is named at each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions in rooms. Further ones are closed with `server_full`
    /// (`wzp_relay_connections_closed_total{reason="server_full"}`).
    pub sessions: u32,
    /// Connections from one IPv4 address or one IPv6 /64. Further ones are
    /// refused (`wzp_relay_connections_refused_total{reason="address"}`).
    pub sessions_per_address: u32,
    /// Connections that have not yet joined a room. Above half of it a client
    /// must prove its address first (RFC 9000 section 8.1.2); above it,
    /// connections are refused
    /// (`wzp_relay_connections_refused_total{reason="handshakes"}`).
    pub handshakes: u32,
    /// Members of one room. Further ones are closed with `room_full`.
    pub room_members: u32,
    /// From the first packet to the end of the QUIC handshake. Later ones are
    /// dropped (`wzp_relay_connections_closed_total{reason="handshake_timeout"}`).
    #[serde(with = "duration")]
    pub handshake_timeout: Duration,
    /// From the end of the handshake to Hello; then closed with `hello_timeout`.
    #[serde(with = "duration")]
    pub hello_timeout: Duration,
    /// A peer from which no packet comes for so long is gone
    /// (`wzp_relay_connections_closed_total{reason="idle_timeout"}`).
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How often a session is asked whether its program still reads.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// A session whose program does not answer for so long is closed with
    /// `unresponsive`.
    #[serde(with = "duration")]
    pub ping_timeout: Duration,
    /// Media datagrams per second and session, with one second's worth of
    /// burst; further ones are dropped
    /// (`wzp_relay_packets_dropped_total{reason="packet_rate"}`).
    pub packets_per_second: u32,
    /// Bytes of media datagrams per second and session, likewise
    /// (`wzp_relay_packets_dropped_total{reason="byte_rate"}`).
    pub bytes_per_second: u32,
    /// Longest media datagram, header included; longer ones are dropped
    /// (`wzp_relay_packets_dropped_total{reason="too_long"}`).
    pub frame_bytes: u32,
    /// Longest control message; a longer one ends the session with
    /// `message_too_long`.
    pub message_bytes: u32,
    /// Control messages per second and session, with five seconds' worth of
    /// burst; more end the session with `too_many_messages`.
    pub messages_per_second: u32,
    /// Control messages waiting for one client, in bytes; more end its session
    /// with `unresponsive`.
    pub outbox_bytes: u32,
    /// Media waiting for one client, in bytes of memory; the oldest makes way
    /// (`wzp_relay_packets_dropped_total{reason="send_buffer"}`).
    pub send_buffer_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_address: 256,
            handshakes: 2_000,
            room_members: 1_000,
            handshake_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(5),
            idle_timeout: wzp_transport::parameters::IDLE_TIMEOUT,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            packets_per_second: 250,
            bytes_per_second: 100_000,
            frame_bytes: 1_100,
            message_bytes: 16 * 1024,
            messages_per_second: 5,
            // The member list of a full room and its changes for a while.
            outbox_bytes: 256 * 1024,
            // 130 talkers' frames of one instant.
            send_buffer_bytes: 24 * 1024,
        }
    }
}

impl Limits {
    /// The member list of a full room whose members all have the longest name.
    fn member_list_bytes(&self) -> u32 {
        let member = control::MAX_NAME_BYTES as u32 + 16;
        self.room_members.saturating_mul(member).max(MAX_MESSAGE_BYTES as u32)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let headers = HEADER_LEN as u32 + 1;
        let hello = (control::MAX_ROOM_BYTES
            + control::MAX_NAME_BYTES
            + control::MAX_SOFTWARE_BYTES) as u32;
        let numbers: [(&'static str, u32, u32, u32); 11] = [
            ("limits.sessions", self.sessions, 1, 10_000_000),
            ("limits.sessions_per_address", self.sessions_per_address, 1, 10_000_000),
            ("limits.handshakes", self.handshakes, 2, 10_000_000),
            ("limits.room_members", self.room_members, 1, u32::from(u16::MAX)),
            ("limits.packets_per_second", self.packets_per_second, 1, 1_000_000),
            ("limits.bytes_per_second", self.bytes_per_second, self.frame_bytes, u32::MAX),
            ("limits.frame_bytes", self.frame_bytes, headers, MAX_FRAME_BYTES),
            ("limits.message_bytes", self.message_bytes, hello + 64, MAX_MESSAGE_BYTES as u32),
            ("limits.messages_per_second", self.messages_per_second, 2, 100_000),
            ("limits.outbox_bytes", self.outbox_bytes, self.member_list_bytes(), u32::MAX),
            ("limits.send_buffer_bytes", self.send_buffer_bytes, 2 * MAX_FRAME_BYTES, u32::MAX),
        ];
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is not between {least} and {most}");
                return Err(ConfigError::Value { key, problem });
            }
        }
        let durations = [
            ("limits.handshake_timeout", self.handshake_timeout),
            ("limits.hello_timeout", self.hello_timeout),
            ("limits.idle_timeout", self.idle_timeout),
            ("limits.ping_interval", self.ping_interval),
            ("limits.ping_timeout", self.ping_timeout),
        ];
        let bounds = Duration::from_millis(10)..=Duration::from_secs(24 * 3600);
        match durations.into_iter().find(|(_, value)| !bounds.contains(value)) {
            Some((key, value)) => Err(ConfigError::Value {
                key,
                problem: format!("{value:?} is not between 10ms and 24h"),
            }),
            None => Ok(()),
        }
    }
}
