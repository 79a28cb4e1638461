//! What a peer may do. Every limit has a default, a key, a metric that counts when it
//! bites, and an error that the peer can read.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wzp_telemetry::settings::duration;
use wzp_transport::parameters::IDLE_TIMEOUT;

/// Longest media datagram that every path carries: 1200 bytes of UDP payload
/// (RFC 9000 section 14) less the QUIC header, tag and frame header.
pub const MAX_FRAME_BYTES: u32 = 1150;

/// `[limits]`. The metric that counts when a limit bites is named at each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions in rooms. Further ones take the place of one that is silent or idle,
    /// or are closed with `server_full`
    /// (`wzp_relay_connections_closed_total{reason="server_full"}`).
    pub sessions: u32,
    /// Connections from one IPv4 address or one IPv6 /64. Further ones are
    /// refused (`wzp_relay_connections_refused_total{reason="address"}`).
    pub sessions_per_address: u32,
    /// Connections from one IPv6 /56, likewise
    /// (`wzp_relay_connections_refused_total{reason="site"}`). Never fewer than
    /// `sessions_per_address`.
    pub sessions_per_site: u32,
    /// Connections from one IPv6 /48 or one IPv4 /24, likewise
    /// (`wzp_relay_connections_refused_total{reason="network"}`). Never fewer than
    /// `sessions_per_site`.
    pub sessions_per_network: u32,
    /// When the relay is full, a session through which no media has passed for so
    /// long makes way for somebody whose network has fewer sessions
    /// (`wzp_relay_connections_closed_total{reason="preempted"}`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub preempt_after: Duration,
    /// Connections that have not yet joined a room. Above half of it a client
    /// must prove its address first (RFC 9000 section 8.1.2); above it,
    /// connections are refused
    /// (`wzp_relay_connections_refused_total{reason="handshakes"}`).
    pub handshakes: u32,
    /// Members of one room. Further ones are closed with `room_full`.
    pub room_members: u32,
    /// A room's members are told of joins, leaves and mutes at most once in this time,
    /// of all since the last time together
    /// (`wzp_relay_membership_changes_deferred_total`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub membership_window: Duration,
    /// From the first packet to the end of the QUIC handshake. Later ones are
    /// dropped (`wzp_relay_connections_closed_total{reason="handshake_timeout"}`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub handshake_timeout: Duration,
    /// From the end of the handshake to Hello; then closed with `hello_timeout`.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub hello_timeout: Duration,
    /// A peer from which no packet comes for so long is gone
    /// (`wzp_relay_connections_closed_total{reason="idle_timeout"}`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub idle_timeout: Duration,
    /// How often a session is asked whether its program still reads.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub ping_interval: Duration,
    /// A session whose program does not answer for so long is closed with
    /// `unresponsive`.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
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
    /// Packets waiting in one shard because an interface or a neighbour takes no
    /// more, in bytes of memory; of these `send_buffer_bytes` for one
    /// destination. The oldest make way
    /// (`wzp_relay_udp_packets_unsent_total{reason="crowded"}`).
    pub unsent_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_address: 256,
            sessions_per_site: 512,
            sessions_per_network: 2_500,
            preempt_after: Duration::from_secs(30),
            handshakes: 2_000,
            room_members: 1_000,
            membership_window: Duration::from_millis(200),
            handshake_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(5),
            idle_timeout: IDLE_TIMEOUT,
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
            // 1,000 listeners' voice of 200 ms, after which it is of no use.
            unsent_bytes: 8 * 1024 * 1024,
        }
    }
}
