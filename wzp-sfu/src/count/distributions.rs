//! Histograms over all connections and sessions, whatever the caps on series.

use wzp_telemetry::metrics::Histogram;

/// How long things took and how calls fare, since the start. Any shard adds to
/// them, a few times in a connection's life and once a second in a session's.
#[derive(Debug)]
pub struct Distributions {
    /// From a connection's first packet to its handshake's end.
    pub handshake: Histogram,
    /// From a connection's first packet to its end, whatever the cause.
    pub connection: Histogram,
    /// Each session's round trip.
    pub rtt: Histogram,
    /// Each session's loss, a share of the frames that it sent in a minute.
    pub loss_rx: Histogram,
    /// And of the frames that it was sent.
    pub loss_tx: Histogram,
    /// The jitter each session reports.
    pub jitter: Histogram,
}

/// With an edge at the objective of half a second.
const HANDSHAKE: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From clients that fail at once to a day's meeting.
const CONNECTION: &[f64] = &[
    0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0,
];

/// With an edge at the 150 ms one way that ITU-T G.114 calls good: 0.3.
const RTT: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0];

/// The first is for those who lose nothing.
const LOSS: &[f64] =
    &[0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0];

const JITTER: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5];

impl Default for Distributions {
    fn default() -> Self {
        Self {
            handshake: Histogram::new(HANDSHAKE),
            connection: Histogram::new(CONNECTION),
            rtt: Histogram::new(RTT),
            loss_rx: Histogram::new(LOSS),
            loss_tx: Histogram::new(LOSS),
            jitter: Histogram::new(JITTER),
        }
    }
}
