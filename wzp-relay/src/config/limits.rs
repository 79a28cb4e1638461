//! What a peer may do. Every limit has a default, a key, a metric that counts
//! when it bites, and an error that the peer can read.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wzp_proto::control;
use wzp_proto::framing::MAX_MESSAGE_BYTES;
use wzp_proto::media::HEADER_LEN;
use wzp_telemetry::settings::duration;
use wzp_transport::parameters::{IDLE_TIMEOUT, KEEP_ALIVE};

use super::problem::Complaint;
use super::range::Range;

/// Longest media datagram that every path carries: 1200 bytes of UDP payload
/// (RFC 9000 section 14) less the QUIC header, tag and frame header.
pub const MAX_FRAME_BYTES: u32 = 1150;

/// Room, name, software and token at their longest, and what frames them.
const HELLO_BYTES: usize = control::MAX_ROOM_BYTES
    + control::MAX_NAME_BYTES
    + control::MAX_SOFTWARE_BYTES
    + control::MAX_TOKEN_BYTES
    + 64;

/// What QUIC needs to ask again whoever's answer is lost: three probes or more on a
/// path of 300 ms (RFC 9002 section 6.2).
const PROBES: Duration = Duration::from_secs(5);

/// What a timer can keep and a person can wait for.
const TIME: Range = Range::Time(Duration::from_millis(10), Duration::from_secs(24 * 3600));

/// Shorter would hardly gather anything; longer is taken for a member that is not there.
const MEMBERSHIP_WINDOW: Range = Range::Time(Duration::from_millis(50), Duration::from_secs(2));

pub(super) const RANGES: [(&str, Range); 21] = [
    ("limits.sessions", Range::Number(1, 10_000_000)),
    ("limits.sessions_per_address", Range::Number(1, 10_000_000)),
    ("limits.sessions_per_site", Range::Number(1, 10_000_000)),
    ("limits.sessions_per_network", Range::Number(1, 10_000_000)),
    ("limits.preempt_after", TIME),
    ("limits.handshakes", Range::Number(2, 10_000_000)),
    ("limits.room_members", Range::Number(1, u16::MAX as u64)),
    ("limits.membership_window", MEMBERSHIP_WINDOW),
    ("limits.handshake_timeout", TIME),
    ("limits.hello_timeout", TIME),
    ("limits.idle_timeout", TIME),
    ("limits.ping_interval", TIME),
    ("limits.ping_timeout", TIME),
    ("limits.packets_per_second", Range::Number(1, 1_000_000)),
    ("limits.bytes_per_second", Range::Number(HEADER_LEN as u64 + 1, u32::MAX as u64)),
    ("limits.frame_bytes", Range::Number(HEADER_LEN as u64 + 1, MAX_FRAME_BYTES as u64)),
    ("limits.message_bytes", Range::Number(HELLO_BYTES as u64, MAX_MESSAGE_BYTES as u64)),
    ("limits.messages_per_second", Range::Number(2, 100_000)),
    ("limits.outbox_bytes", Range::Number(MAX_MESSAGE_BYTES as u64, u32::MAX as u64)),
    ("limits.send_buffer_bytes", Range::Number(2 * MAX_FRAME_BYTES as u64, u32::MAX as u64)),
    ("limits.unsent_bytes", Range::Number(64 * 1024, u32::MAX as u64)),
];

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

impl Limits {
    /// The member list of a full room whose members all have the longest name.
    fn member_list_bytes(&self) -> u32 {
        let member = control::MAX_NAME_BYTES as u32 + 16;
        self.room_members.saturating_mul(member)
    }

    /// What single values cannot tell: limits that do not fit each other.
    pub(super) fn check(&self) -> impl Iterator<Item = Complaint> {
        let pairs = [
            (
                ["limits.bytes_per_second", "limits.frame_bytes"],
                self.bytes_per_second < self.frame_bytes,
                format!(
                    "the longest frame takes {} bytes: allow so many a second",
                    self.frame_bytes
                ),
            ),
            (
                ["limits.outbox_bytes", "limits.room_members"],
                self.outbox_bytes < self.member_list_bytes(),
                format!(
                    "the member list of a full room takes up to {} bytes: let so many wait",
                    self.member_list_bytes()
                ),
            ),
            (
                ["limits.idle_timeout", "limits.ping_interval"],
                self.idle_timeout < self.ping_interval.min(KEEP_ALIVE) + PROBES,
                format!(
                    "silent sessions would end: they speak up when they are asked \
                     (ping_interval), or after {} s; let ping_interval be {} s shorter than \
                     idle_timeout",
                    KEEP_ALIVE.as_secs(),
                    PROBES.as_secs()
                ),
            ),
        ];
        pairs
            .into_iter()
            .filter(|(_, wrong, _)| *wrong)
            .map(|(keys, _, text)| Complaint::new(keys, text))
    }
}
