//! What the kernel counts, and how well.

use wzp_common::reason::Direction;

use super::{Family, Scrape, Series, counter, gauge, session_began, single};
use crate::accounts::Flow;
use wzp_kernel::{Hook, Totals};
use wzp_sfu::count::number::Count;
use wzp_sfu::count::stats::ShardStats;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "wzp_relay_forwarded_source",
        "1 for what counts wzp_relay_packets_forwarded_total: the kernel (packets on the wire) or the relay itself (media datagrams)",
        |scrape| {
            let kernel = scrape.sources.accounts.counts_rooms();
            let is = |yes| f64::from(u8::from(yes));
            vec![(vec!["kernel".into()], is(kernel)), (vec!["userspace".into()], is(!kernel))]
        },
    ).from("start").note("`kernel` or `userspace`; decided at the start")
    .by(&["source"]),
    gauge(
        "wzp_ebpf_counting",
        "1 while the kernel counts on all interfaces named, both ways, else 0",
        |scrape| single(f64::from(u8::from(scrape.kernel.counting))),
    ).from("attachments"),
    counter(
        "wzp_ebpf_load_failures_total",
        "Times the kernel programs could not be loaded",
        |scrape| single(scrape.kernel.load_failures as f64),
    ).from("start").note("The log says why"),
    gauge(
        "wzp_ebpf_hook",
        "1 for the hook that counts on an interface, in each direction",
        |scrape| {
            let interfaces = scrape.kernel.interfaces.iter();
            interfaces
                .flat_map(|interface| {
                    let used = |direction: Direction, hook: Hook| {
                        let labels = [interface.name.as_str(), direction.name(), hook.name()];
                        (labels.map(String::from).to_vec(), 1.0)
                    };
                    [used(Direction::Rx, interface.rx), used(Direction::Tx, interface.tx)]
                })
                .collect()
        },
    ).from("attachments").note("`xdp-driver`, `tcx-ingress`, `tcx-egress` or `none`")
    .by(&["interface", "direction", "hook"]),
    counter(
        "wzp_ebpf_attach_failures_total",
        "Times the kernel programs could not be attached to an interface",
        |scrape| {
            let interfaces = scrape.kernel.interfaces.iter();
            interfaces.map(|i| (vec![i.name.clone()], i.failures as f64)).collect()
        },
    ).from("attachments").note("The log says why")
    .by(&["interface"]),
    counter(
        "wzp_ebpf_packets_total",
        "Packets of the relay's port; attributed is no for those of no known session",
        |scrape| by_session(scrape, |totals| (totals.rx_packets, totals.tx_packets)),
    ).from("slots").note("Such are handshakes, and what strangers send")
    .by(&["direction", "attributed"]),
    counter(
        "wzp_ebpf_bytes_total",
        "Bytes of those packets, from the Ethernet header on",
        |scrape| by_session(scrape, |totals| (totals.rx_bytes, totals.tx_bytes)),
    ).from("slots")
    .by(&["direction", "attributed"]),
    gauge(
        "wzp_ebpf_difference_packets",
        "Packets of the relay's port that the kernel counted, less those that the shards received or sent",
        |scrape| {
            if !scrape.sources.accounts.counts_rooms() {
                return Vec::new();
            }
            let shards = |of: fn(&ShardStats) -> &Count| -> f64 {
                scrape.sources.shards.iter().map(|stats| of(stats).get() as f64).sum()
            };
            let counted = scrape.kernel.counted;
            let received = counted.rx_packets as f64 - shards(|stats| &stats.udp_packets_received);
            let sent = counted.tx_packets as f64 - shards(|stats| &stats.udp_packets_sent);
            [(Direction::Rx, received), (Direction::Tx, sent)]
                .map(|(direction, difference)| (vec![direction.name().to_owned()], difference))
                .into()
        },
    ).from("slots and shards").note("Growing `rx`: the socket's buffer overflows, or strangers send what is not QUIC to another socket of the port; growing `tx`: another program sends from the port; falling: packets take an interface that is not named")
    .by(&["direction"]),
    counter(
        "wzp_ebpf_skipped_packets_total",
        "Packets that crossed the hook and are in no flow",
        |scrape| {
            let reasons = scrape.kernel.reasons.iter();
            reasons
                .map(|(direction, reason, count)| {
                    let labels = vec![direction.name().to_owned(), reason.name().to_owned()];
                    (labels, *count as f64)
                })
                .collect()
        },
    ).from("reasons")
    .by(&["direction", "reason"]),
    counter(
        "wzp_relay_session_wire_packets_total",
        "Packets of a session in a room since its handshake, as the kernel counts them",
        |scrape| by_flow(scrape, |flow| (flow.rx_packets, flow.tx_packets)),
    ).from("slots").note("Gone when the session is")
    .by(&["session_id", "direction"])
    .began(session_began),
    counter(
        "wzp_relay_session_wire_bytes_total",
        "Bytes of those packets, from the Ethernet header on",
        |scrape| by_flow(scrape, |flow| (flow.rx_bytes, flow.tx_bytes)),
    ).from("slots")
    .by(&["session_id", "direction"])
    .began(session_began),
    gauge("wzp_ebpf_slots_used", "Sessions that have a slot in the kernel's table", |scrape| {
        single(scrape.kernel.slots.used.into())
    }).from("slots"),
    gauge("wzp_ebpf_slots_capacity", "Sessions that can have a slot (ebpf.slots)", |scrape| {
        single(scrape.kernel.slots.capacity.into())
    }).from("slots"),
    counter(
        "wzp_ebpf_slots_full_total",
        "Sessions that got no slot because all were used",
        |scrape| single(scrape.kernel.slots.full as f64),
    ).from("slots"),
    gauge(
        "wzp_ebpf_unattributed_sessions",
        "Open sessions without a slot, whose packets are counted for nobody",
        |scrape| single(scrape.kernel.slots.unattributed_sessions as f64),
    ).from("slots"),
    gauge("wzp_ebpf_blocked_addresses", "Addresses that are blocked", |scrape| {
        single(scrape.kernel.blocked_addresses as f64)
    }).from("block list").note("At most 16,384; `wzp-relay ctl block` refuses more with a sentence"),
    counter(
        "wzp_ebpf_map_errors_total",
        "Keys that the kernel did not take or give back",
        |scrape| single(scrape.kernel.slots.map_errors as f64),
    ).from("slots"),
    gauge(
        "wzp_ebpf_program_instructions",
        "Instructions that the verifier went through, by program",
        |scrape| {
            let programs = scrape.kernel.instructions.iter();
            programs.map(|(name, count)| (vec![(*name).to_owned()], f64::from(*count))).collect()
        },
    ).from("verifier")
    .by(&["program"]),
];

/// Both directions of the sessions that have series.
fn by_flow(scrape: &Scrape<'_>, of: fn(&Flow) -> (u64, u64)) -> Vec<Series> {
    let flows = scrape.flows.iter();
    flows
        .flat_map(|flow| {
            let (rx, tx) = of(flow);
            [(Direction::Rx, rx), (Direction::Tx, tx)].map(|(direction, count)| {
                (vec![flow.session.clone(), direction.name().to_owned()], count as f64)
            })
        })
        .collect()
}

fn by_session(scrape: &Scrape<'_>, of: fn(&Totals) -> (u64, u64)) -> Vec<Series> {
    let kernel = &scrape.kernel;
    [("yes", &kernel.attributed), ("no", &kernel.unattributed)]
        .into_iter()
        .flat_map(|(attributed, totals)| {
            let (rx, tx) = of(totals);
            [(Direction::Rx, rx), (Direction::Tx, tx)].map(|(direction, count)| {
                (vec![direction.name().to_owned(), attributed.to_owned()], count as f64)
            })
        })
        .collect()
}
