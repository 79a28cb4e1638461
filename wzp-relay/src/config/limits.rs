//! `[limits]`: the bounds of single values, and what fits what.

use std::time::Duration;

use wzp_proto::control;
use wzp_proto::framing::MAX_MESSAGE_BYTES;
use wzp_proto::media::HEADER_LEN;
use wzp_sfu::limits::{Limits, MAX_FRAME_BYTES};
use wzp_transport::parameters::KEEP_ALIVE;

use super::problem::Complaint;
use super::range::Range;

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

/// The member list of a full room whose members all have the longest name.
fn member_list_bytes(limits: &Limits) -> u32 {
    let member = control::MAX_NAME_BYTES as u32 + 16;
    limits.room_members.saturating_mul(member)
}

/// What single values cannot tell: limits that do not fit each other.
pub(super) fn check(limits: &Limits) -> impl Iterator<Item = Complaint> + use<> {
    let pairs = [
        (
            ["limits.bytes_per_second", "limits.frame_bytes"],
            limits.bytes_per_second < limits.frame_bytes,
            format!("the longest frame takes {} bytes: allow so many a second", limits.frame_bytes),
        ),
        (
            ["limits.outbox_bytes", "limits.room_members"],
            limits.outbox_bytes < member_list_bytes(limits),
            format!(
                "the member list of a full room takes up to {} bytes: let so many wait",
                member_list_bytes(limits)
            ),
        ),
        (
            ["limits.idle_timeout", "limits.ping_interval"],
            limits.idle_timeout < limits.ping_interval.min(KEEP_ALIVE) + PROBES,
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
