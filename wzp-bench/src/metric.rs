//! The figures of a run that tables and plots show.

use super::measure::Run;

/// A figure of the table: its title, and how it follows from a run.
#[derive(Clone, Copy)]
pub(crate) struct Metric {
    /// Its key in the JSON file.
    pub(crate) key: &'static str,
    /// The heading of its column, with the unit.
    pub(crate) title: &'static str,
    /// Digits after the point.
    pub(crate) digits: usize,
    /// Its value, if the run has one.
    pub(crate) of: fn(&Run) -> Option<f64>,
}

/// CPU time of the server for each frame that a listener heard.
pub(crate) const US_PER_FRAME: Metric = Metric {
    key: "us_per_frame",
    title: "server CPU, µs/frame",
    digits: 2,
    of: |run| per_frame(run, run.server_cpu_s * 1e6),
};

/// CPU time of everything that ran.
pub(crate) const MACHINE_US_PER_FRAME: Metric = Metric {
    key: "machine_us_per_frame",
    title: "whole machine, µs/frame",
    digits: 2,
    of: |run| per_frame(run, run.machine_cpu_s * 1e6),
};

/// CPU time of the load generator.
pub(crate) const GENERATOR_US_PER_FRAME: Metric = Metric {
    key: "generator_us_per_frame",
    title: "generator, µs/frame",
    digits: 2,
    of: |run| per_frame(run, run.load.cpu_s * 1e6),
};

/// How busy the server was.
pub(crate) const SERVER_LOAD: Metric = Metric {
    key: "server_load_pct",
    title: "server CPU, %",
    digits: 1,
    of: |run| Some(run.server_load * 100.0),
};

/// Frames that listeners heard of those that they should have heard.
pub(crate) const DELIVERED: Metric = Metric {
    key: "delivered_pct",
    title: "delivered, %",
    digits: 2,
    of: |run| run.load.delivered_share.map(|share| share * 100.0),
};

/// From a talker's send to a listener's receive.
pub(crate) const P50: Metric = Metric {
    key: "latency_p50_ms",
    title: "added latency p50, ms",
    digits: 2,
    of: |run| run.load.latency_us.p50.map(|us| us / 1e3),
};

/// The same, which one in a hundred exceeds.
pub(crate) const P99: Metric = Metric {
    key: "latency_p99_ms",
    title: "added latency p99, ms",
    digits: 2,
    of: |run| run.load.latency_us.p99.map(|us| us / 1e3),
};

/// How many frames share a UDP packet to a listener.
pub(crate) const FRAMES_PER_PACKET: Metric = Metric {
    key: "frames_per_packet",
    title: "frames per packet",
    digits: 2,
    of: |run| run.load.frames_per_packet.filter(|_| run.load.frames_received > 0),
};

/// What the server's memory has grown by since it was ready.
pub(crate) const MEMORY_PER_SESSION: Metric = Metric {
    key: "memory_per_session_kib",
    title: "memory per session, KiB",
    digits: 1,
    of: |run| {
        let grown = run.server_bytes.saturating_sub(run.server_bytes_before);
        by(count(grown) / 1024.0, run.sessions)
    },
};

/// Memory of the server altogether.
pub(crate) const MEMORY: Metric = Metric {
    key: "memory_mib",
    title: "memory, MiB",
    digits: 1,
    of: |run| Some(count(run.server_bytes) / 1024.0 / 1024.0),
};

/// How fast sessions joined.
pub(crate) const JOINS_PER_SECOND: Metric = Metric {
    key: "joins_per_second",
    title: "joins per second",
    digits: 0,
    of: |run| Some(run.load.joins_per_second),
};

/// From a session's first packet to the end of the member list.
pub(crate) const JOIN_P99: Metric =
    Metric { key: "join_p99_ms", title: "join p99, ms", digits: 1, of: |run| run.load.join_ms.p99 };

/// CPU time of the server for each session that joined.
pub(crate) const CPU_PER_JOIN: Metric = Metric {
    key: "cpu_per_join_ms",
    title: "server CPU, ms/join",
    digits: 3,
    of: |run| by(run.join_cpu_s * 1e3, run.load.sessions),
};

/// Frames that listeners did not hear.
pub(crate) const LOST: Metric = Metric {
    key: "frames_lost",
    title: "frames lost",
    digits: 0,
    of: |run| Some(count(run.load.frames_expected.saturating_sub(run.load.frames_received))),
};

/// Frames that the server says it dropped.
pub(crate) const DROPPED: Metric = Metric {
    key: "frames_dropped",
    title: "frames dropped as counted by the server",
    digits: 0,
    of: |run| run.server_dropped,
};

/// Packets to the server that found its sockets full, as the kernel counts.
pub(crate) const OVERFLOWS: Metric = Metric {
    key: "server_socket_overflows",
    title: "packets dropped before the server",
    digits: 0,
    of: |run| Some(count(run.server_overflows)),
};

fn per_frame(run: &Run, microseconds: f64) -> Option<f64> {
    by(microseconds, run.load.frames_received)
}

fn by(value: f64, number: u64) -> Option<f64> {
    (number > 0).then(|| value / count(number))
}

/// For arithmetic; exact to 2^53.
#[allow(clippy::cast_precision_loss)]
const fn count(number: u64) -> f64 {
    number as f64
}
