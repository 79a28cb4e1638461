//! How sessions fare: each of the oldest, and all of them together.

use wzp_common::reason::Direction;

use super::{
    Family, HistogramSeries, Scrape, Series, counter, gauge, histogram, session_began, single,
};
use crate::words::{milliseconds, percent};
use wzp_sfu::count::distributions::Distributions;
use wzp_sfu::count::sessions::SessionReading;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "wzp_relay_session_jitter_buffer_depth",
        "Buffer depth per session: milliseconds of voice waiting in its client, as it reports",
        |scrape| by_session(scrape, |reading| Some(milliseconds(reading.buffer_depth?))),
    ).from("receiver reports").note("Of the talker for whom most waits; as last reported")
    .by(&["session_id"]),
    gauge(
        "wzp_relay_session_loss_pct",
        "Packet loss percentage: frames lost on their way during the last minute, in the worse direction",
        |scrape| by_session(scrape, |reading| Some(percent(reading.loss()?))),
    ).from("shards, receiver reports").note("Per cent of the frames that were due in the last 60 s, absent when none was due in either direction")
    .by(&["session_id"]),
    gauge("wzp_relay_session_loss_ratio", "The loss of a session as a share of 1", |scrape| {
        by_session(scrape, SessionReading::loss)
    }).from("shards, receiver reports")
    .by(&["session_id"]),
    gauge(
        "wzp_relay_session_frame_loss_ratio",
        "Frames from the session's client (rx) and to it (tx) lost on their way during the last minute, a share of 1",
        |scrape| {
            let rx = by_session(scrape, |reading| reading.loss_rx);
            let tx = by_session(scrape, |reading| reading.loss_tx);
            let both = [(Direction::Rx, rx), (Direction::Tx, tx)].into_iter();
            both.flat_map(|(direction, series)| series.into_iter().map(move |(mut labels, loss)| {
                labels.push(direction.name().to_owned());
                (labels, loss)
            }))
            .collect()
        },
    ).from("shards, receiver reports").note("Absent when no frame was due in it. `tx` is what the client reports: one that never has is absent, and one that has and speaks of none of the frames it is sent for 3 s misses them")
    .by(&["session_id", "direction"]),
    gauge(
        "wzp_relay_session_rtt_ms",
        "Round-trip time between the relay and the session's client, in milliseconds",
        |scrape| by_session(scrape, |reading| Some(milliseconds(reading.rtt?))),
    ).from("shards").note("As QUIC smooths it (RFC 9002 section 5.3): with the time that both ends take to look at a packet, some milliseconds on a local network; of a silent session as of its last Ping")
    .by(&["session_id"]),
    gauge("wzp_relay_session_rtt_seconds", "Round-trip time between the relay and the session's client, in seconds", |scrape| {
        by_session(scrape, |reading| Some(reading.rtt?.as_secs_f64()))
    }).from("shards")
    .by(&["session_id"]),
    counter(
        "wzp_relay_session_underruns_total",
        "Jitter buffer underruns of the session's client, as it reports",
        |scrape| by_session(scrape, |reading| Some(reading.underruns? as f64)),
    ).from("receiver reports").note("Times that nothing was there to play, all talkers together")
    .by(&["session_id"])
    .began(session_began),
    counter(
        "wzp_relay_session_overruns_total",
        "Jitter buffer overruns of the session's client, as it reports",
        |scrape| by_session(scrape, |reading| Some(reading.overruns? as f64)),
    ).from("receiver reports").note("Times that voice was thrown away")
    .by(&["session_id"])
    .began(session_began),
    counter(
        "wzp_relay_session_packets_sent_total",
        "UDP packets made for the session's client",
        |scrape| by_session(scrape, |reading| Some(reading.packets_sent as f64)),
    ).from("QUIC").note("Its handshake's included")
    .by(&["session_id"])
    .began(session_began),
    counter(
        "wzp_relay_session_packets_lost_total",
        "UDP packets to the session's client that QUIC declared lost",
        |scrape| by_session(scrape, |reading| Some(reading.packets_lost as f64)),
    ).from("QUIC").note("By RFC 9002 section 6.1: also such as were only late, where the path reorders. What the client misses is `wzp_relay_session_frame_loss_ratio`")
    .by(&["session_id"])
    .began(session_began),
    gauge(
        "wzp_relay_session_congestion_window_bytes",
        "Bytes that may be on their way to the session's client",
        |scrape| by_session(scrape, |reading| Some(reading.congestion_window? as f64)),
    ).from("QUIC").note("The window of RFC 9002 section 7: at least 32 KiB, and at most 64 KiB or twice what was on its way in the last seconds")
    .by(&["session_id"]),
    counter(
        "wzp_relay_sessions_packets_lost_total",
        "UDP packets to all sessions in rooms that QUIC declared lost",
        |scrape| scrape.sum(|shard| &shard.session_packets_lost),
    ).from("QUIC").note("Over `wzp_relay_udp_packets_sent_total` at least the loss of the relay's outgoing paths, and more where they reorder"),
    counter(
        "wzp_relay_sessions_congestion_events_total",
        "Times that the congestion window of any session in a room was cut",
        |scrape| scrape.sum(|shard| &shard.session_congestion_events),
    ).from("QUIC"),
    gauge(
        "wzp_relay_session_series_dropped",
        "Sessions without series of their own because of metrics.max_session_series",
        |scrape| single(scrape.sessions.dropped as f64),
    ).from("sessions"),
    histogram(
        "wzp_relay_rtt_seconds",
        "Round-trip times of all sessions, each about once a second",
        |scrape| all(scrape, |distributions| &distributions.rtt),
    ).from("shards"),
    histogram(
        "wzp_relay_loss_ratio",
        "Losses of all sessions during the last 60 s, from their clients (rx) and to them (tx), each about once a second",
        |scrape| {
            let Distributions { loss_rx, loss_tx, .. } = &scrape.sources.sessions.distributions;
            [(Direction::Rx, loss_rx), (Direction::Tx, loss_tx)]
                .map(|(direction, loss)| (vec![direction.name().to_owned()], loss.reading()))
                .into()
        },
    ).from("shards, receiver reports").note("From 0 to 1; `le=\"0\"` are those who lost nothing")
    .by(&["direction"]),
    histogram(
        "wzp_relay_jitter_seconds",
        "Interarrival jitter that all sessions report, each about once a second",
        |scrape| all(scrape, |distributions| &distributions.jitter),
    ).from("receiver reports").note("By RFC 3550 section 6.4.1, of the talker that fares worst"),
    histogram(
        "wzp_relay_handshake_duration_seconds",
        "Crypto handshake time: from a connection's first packet to the end of its QUIC handshake",
        |scrape| all(scrape, |distributions| &distributions.handshake),
    ).from("shards").note("From the second packet, if the first was answered with Retry"),
    counter(
        "wzp_relay_handshake_failures_total",
        "QUIC handshakes that were begun and not completed, by reason",
        |scrape| scrape.by_reason(|shard| &shard.handshake_failures),
    ).from("shards").note("`timeout` (`limits.handshake_timeout`), `transport` (the peer gave up or broke QUIC or TLS), `going_away` (the relay stopped), `preempted` (it made way for others), `relay_failed` (the shard failed)")
    .by(&["reason"]),
];

/// The sessions that have series and of which it has been measured.
fn by_session(scrape: &Scrape<'_>, of: fn(&SessionReading) -> Option<f64>) -> Vec<Series> {
    let shown = scrape.sessions.shown.iter();
    shown
        .filter_map(|reading| Some((vec![reading.participant.id.to_string()], of(reading)?)))
        .collect()
}

pub(super) fn all(
    scrape: &Scrape<'_>,
    of: fn(&Distributions) -> &wzp_telemetry::metrics::Histogram,
) -> Vec<HistogramSeries> {
    vec![(Vec::new(), of(&scrape.sources.sessions.distributions).reading())]
}
