//! The families of the WRAITH monitoring guide that a relay has: its dashboards,
//! rules and alerts find them under these names. Transfers, cryptography,
//! obfuscation and discovery are none of a relay's work.

use std::sync::Arc;

use super::session::all;
use super::{Family, Scrape, Series, counter, gauge, histogram, single};
use wzp_kernel::Totals;
use wzp_sfu::count::number::Count;
use wzp_sfu::count::reason::{PerReason, Reason};
use wzp_sfu::count::stats::ShardStats;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "wraith_network_bytes_sent_total",
        "Bytes sent from the relay's port; wzp_relay_forwarded_source tells what counts them",
        |scrape| network(scrape, |kernel| kernel.tx_bytes, |shard| &shard.udp_bytes_sent),
    ).from("kernel, or shards").note("From the Ethernet header on if the kernel counts, else without UDP and IP headers"),
    counter(
        "wraith_network_bytes_received_total",
        "Bytes received at the relay's port; wzp_relay_forwarded_source tells what counts them",
        |scrape| network(scrape, |kernel| kernel.rx_bytes, |shard| &shard.udp_bytes_received),
    ).from("kernel, or shards"),
    counter("wraith_network_packets_sent_total", "Packets sent from the relay's port", |scrape| {
        network(scrape, |kernel| kernel.tx_packets, |shard| &shard.udp_packets_sent)
    }).from("kernel, or shards"),
    counter(
        "wraith_network_packets_received_total",
        "Packets received at the relay's port",
        |scrape| network(scrape, |kernel| kernel.rx_packets, |shard| &shard.udp_packets_received),
    ).from("kernel, or shards").note("Strangers' included"),
    counter(
        "wraith_network_errors_total",
        "UDP packets that the kernel did not take, or dropped because a shard did not read them in time",
        |scrape| {
            let dropped = scrape.receive_drops.unwrap_or(0);
            single((scrape.udp_send_errors() + dropped) as f64)
        },
    ).from("both").note("`wzp_relay_udp_send_errors_total` and `wzp_relay_udp_receive_drops_total` together"),
    gauge("wraith_connections_active", "Connections that are not over", |scrape| {
        let Connections { closed, accepted, .. } = scrape.connections;
        single(accepted.saturating_sub(closed) as f64)
    }).from("shards").note("All states of `wraith_session_state` but `closing`"),
    counter(
        "wraith_connections_total",
        "Connections that were attempted, those that were refused included",
        |scrape| single((scrape.connections.accepted + scrape.connections.refused) as f64),
    ).from("shards").note("`wzp_relay_connections_total` and `wzp_relay_connections_refused_total` together"),
    counter(
        "wraith_connections_failed_total",
        "Connections that were refused or ended before their QUIC handshake was done",
        |scrape| single((scrape.connections.unfinished + scrape.connections.refused) as f64),
    ).from("shards"),
    histogram(
        "wraith_connection_duration_seconds",
        "From a connection's first packet to its end, whatever the cause",
        |scrape| all(scrape, |distributions| &distributions.connection),
    ).from("shards"),
    gauge("wraith_sessions_active", "Sessions in rooms", |scrape| {
        single(scrape.sources.admission.population().sessions.into())
    }).from("admission").note("As `wzp_relay_active_sessions`"),
    gauge("wraith_session_state", "Connections in each state of their life", |scrape| {
        scrape.by_reason(|shard| &shard.states)
    }).from("shards").note("`handshaking` (QUIC and TLS), `awaiting_hello`, `authenticating` (its token is being decided upon), `joining` (the room's home is asked), `established` (in a room), `closing` (over, and not yet forgotten by QUIC). Their sum is all connections there are")
    .by(&["state"]),
    histogram(
        "wraith_handshake_duration_seconds",
        "From a connection's first packet to the end of its QUIC handshake",
        |scrape| all(scrape, |distributions| &distributions.handshake),
    ).from("shards").note("As `wzp_relay_handshake_duration_seconds`"),
    counter(
        "wraith_handshake_failures_total",
        "QUIC handshakes that were begun and not completed; wzp_relay_handshake_failures_total has the reasons",
        |scrape| single(scrape.connections.unfinished as f64),
    ).from("shards"),
];

/// What became of connections, read once: shares of each other never exceed 1.
#[derive(Clone, Copy)]
pub(super) struct Connections {
    /// Ended before their QUIC handshake was done.
    unfinished: u64,
    closed: u64,
    refused: u64,
    accepted: u64,
}

impl Connections {
    /// Ends before beginnings: those that come meanwhile are in neither.
    pub(super) fn read(shards: &[Arc<ShardStats>]) -> Self {
        Self {
            unfinished: total(shards, |stats| &stats.handshake_failures),
            closed: total(shards, |stats| &stats.connections_closed),
            refused: total(shards, |stats| &stats.connections_refused),
            accepted: shards.iter().map(|stats| stats.connections_accepted.get()).sum(),
        }
    }
}

/// All reasons of a set and all shards together.
fn total<R: Reason>(shards: &[Arc<ShardStats>], of: fn(&ShardStats) -> &PerReason<R>) -> u64 {
    shards.iter().flat_map(|stats| of(stats).iter()).map(|(_, count)| count).sum()
}

/// What the kernel counts at the relay's port, else what the shards do. Which
/// one is decided at the start: a counter that changed its source would jump.
fn network(
    scrape: &Scrape<'_>,
    kernel: fn(&Totals) -> u64,
    shards: fn(&ShardStats) -> &Count,
) -> Vec<Series> {
    match scrape.sources.accounts.counts_rooms() {
        true => single(kernel(&scrape.kernel.counted) as f64),
        false => scrape.sum(shards),
    }
}
