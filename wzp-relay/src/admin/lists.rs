//! What operators are shown: the forms of the admin socket's answers, written by
//! the relay and read by `wzp-relay ctl`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::words::{milliseconds, percent, seconds};
use wzp_sfu::count::rooms::RoomCounts;
use wzp_sfu::count::sessions::{Participant, SessionReading};

/// One session. What the relay does not know is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRow {
    /// 16 hexadecimal digits, as in the log.
    #[serde(rename = "session_id")]
    pub session: String,
    /// Its room; empty before it has joined.
    pub room: String,
    /// The peer's address and port.
    pub peer: String,
    /// What the participant is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The shard it sits on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<usize>,
    /// Seconds since it joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<f64>,
    /// QUIC's smoothed round-trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter that it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Frames that came from it since it joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_received: Option<u64>,
    /// Frames handed to its connection since it joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_forwarded: Option<u64>,
    /// Frames of the participant lost on the way to the relay, in the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_pct: Option<f64>,
    /// Frames lost on the way to the participant, in the last minute, as it reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_out_pct: Option<f64>,
}

impl From<SessionReading> for SessionRow {
    fn from(reading: SessionReading) -> Self {
        let Participant { id, room, name, peer, shard, joined, .. } = reading.participant;
        Self {
            session: id.to_string(),
            room: room.to_string(),
            peer: peer.to_string(),
            name: Some(name),
            shard: Some(shard),
            age_seconds: Some(seconds(joined.elapsed())),
            rtt_ms: reading.rtt.map(milliseconds),
            jitter_ms: reading.jitter.map(milliseconds),
            frames_received: Some(reading.frames_received),
            frames_forwarded: Some(reading.frames_forwarded),
            loss_pct: reading.loss_rx.map(percent),
            loss_out_pct: reading.loss_tx.map(percent),
        }
    }
}

/// One room that has members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoomRow {
    /// Its name.
    pub room: String,
    /// Members now.
    pub members: usize,
    /// Packets forwarded to them; absent above `metrics.max_room_series`, and where
    /// `metrics.room_label` has all rooms share one series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl RoomRow {
    /// The rooms that these sessions sit in, by name. `by_kernel`: whose counts
    /// are shown.
    pub fn list(sessions: &[SessionRow], counts: &RoomCounts, by_kernel: bool) -> Vec<Self> {
        let mut members = BTreeMap::<&str, usize>::new();
        for session in sessions.iter().filter(|session| !session.room.is_empty()) {
            *members.entry(&session.room).or_default() += 1;
        }
        let row = |(room, members): (&str, usize)| {
            let total = counts.total(&room.into()).map(|total| match by_kernel {
                true => (total.wire_packets, total.wire_bytes),
                false => (total.packets, total.bytes),
            });
            Self {
                room: room.to_owned(),
                members,
                packets: total.map(|(packets, _)| packets),
                bytes: total.map(|(_, bytes)| bytes),
            }
        };
        members.into_iter().map(row).collect()
    }
}

/// How the relay is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The relay's version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// Its process.
    pub pid: u32,
    /// As `/health` says.
    pub health: String,
    /// Whether new sessions are taken in, as `/ready` says.
    pub ready: bool,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Sessions in rooms.
    pub sessions: u32,
    /// Rooms with members.
    pub rooms: u64,
    /// Connections that have not joined a room.
    pub pending_connections: u32,
    /// Threads that forward.
    pub shards: usize,
    /// UDP address for clients.
    pub listen: String,
    /// What counts forwarded packets: `kernel` or `userspace`.
    pub forwarded_source: String,
    /// Where the kernel does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<CountedInterface>,
    /// The certificate's fingerprint.
    pub fingerprint: String,
    /// When it expires, RFC 3339.
    pub certificate_expires: String,
    /// What is logged: a level, or directives as in `RUST_LOG`.
    pub log_level: String,
    /// How fast things go; absent in the first second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The most `loss_pct` that a session has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_loss_pct: Option<f64>,
    /// The most `loss_out_pct` that a session has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_loss_out_pct: Option<f64>,
    /// Addresses whose packets are dropped.
    pub blocked: Vec<IpAddr>,
    /// The drain under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
}

/// An interface whose packets the kernel counts, and what counts them each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedInterface {
    /// Its name.
    pub name: String,
    /// `xdp-driver`, `tcx-ingress` or `none`.
    pub rx: String,
    /// `tcx-egress` or `none`.
    pub tx: String,
}

/// What went on in the last ten seconds, all shards together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Over how many seconds it is told.
    pub seconds: f64,
    /// UDP packets that came.
    pub received_packets_per_second: f64,
    /// Their bits, without UDP and IP headers.
    pub received_bits_per_second: f64,
    /// UDP packets that the kernel took.
    pub sent_packets_per_second: f64,
    /// Their bits, without UDP and IP headers.
    pub sent_bits_per_second: f64,
    /// Frames handed to receivers' connections.
    pub forwarded_per_second: f64,
    /// Frames that were not forwarded, for whatever reason.
    pub dropped_per_second: f64,
    /// Their share of both.
    pub dropped_pct: f64,
    /// Processor time; 100 is all that the process may use.
    pub cpu_pct: f64,
}

/// A drain under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Seconds until those who are left are closed; 0 once they were.
    pub remaining_seconds: f64,
    /// Whether the relay ends when nobody is left.
    pub exits: bool,
    /// Whether the drain can be taken back.
    pub can_be_taken_back: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wzp_telemetry::settings::RoomLabel;

    use super::*;

    #[test]
    fn rooms_are_those_that_sessions_sit_in() {
        let session = |room: &str| SessionRow { room: room.into(), ..SessionRow::default() };
        let sessions = ["b", "a", "", "b"].map(session);
        // "a" comes second and has no series.
        let counts = RoomCounts::new(1, RoomLabel::Hash, Duration::ZERO);
        let [b, _] = ["b", "a"].map(|room| counts.open(&room.into()).count);
        for (count, number) in
            [&b.packets, &b.bytes, &b.wire_packets, &b.wire_bytes].into_iter().zip(1..)
        {
            count.add(number);
        }
        let list = |by_kernel| {
            let rows = RoomRow::list(&sessions, &counts, by_kernel);
            let cells = |row: RoomRow| (row.room, row.members, row.packets, row.bytes);
            rows.into_iter().map(cells).collect::<Vec<_>>()
        };
        let a = ("a".to_owned(), 1, None, None);
        assert_eq!(list(false), [a.clone(), ("b".into(), 2, Some(1), Some(2))]);
        assert_eq!(list(true), [a, ("b".into(), 2, Some(3), Some(4))]);
    }
}
