//! What becomes of packets behind the relay's sockets: where the kernel, queues and
//! interfaces drop them.

use super::{Family, Scrape, Series, counter, gauge, single};
use crate::net::send_drops;
use wzp_kernel::queues::Queue;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "wzp_relay_udp_send_buffer_errors_total",
        "UDP packets that the kernel dropped at a full queue after it had taken them, and times that a socket had no room, of all programs in the relay's network namespace",
        |_| send_drops::send_buffer_errors().map_or_else(Vec::new, |errors| single(errors as f64)),
    ).from("`SndbufErrors` of /proc/net/snmp and snmp6").note("Since the namespace was made; absent where the system does not tell. [Where packets go](kernel-accounting.md#behind-the-socket)"),
    counter(
        "wzp_relay_interface_queue_packets_total",
        "Packets of any program that passed the queue (qdisc) before an interface",
        |scrape| by_interface(scrape, |queue| queue.packets),
    ).from("rtnetlink, once a second").note("Since that was made. Interfaces are those of `ebpf.interfaces`, else those that carry the address listened on, 16 at most; those without a queue, as most that are not hardware, are absent here")
    .by(&["interface"]),
    counter(
        "wzp_relay_interface_queue_drops_total",
        "Packets of any program that the queue before an interface dropped",
        |scrape| by_interface(scrape, |queue| queue.drops),
    ).from("rtnetlink")
    .by(&["interface"]),
    gauge(
        "wzp_relay_interface_queue_packets_waiting",
        "Packets of any program that wait in the queue before an interface",
        |scrape| by_interface(scrape, |queue| queue.waiting),
    ).from("rtnetlink")
    .by(&["interface"]),
    counter(
        "wzp_relay_interface_errors_total",
        "Packets that an interface did not take or give, as it counts them itself",
        |scrape| {
            let interfaces = scrape.interfaces.iter();
            let series = interfaces.flat_map(|interface| {
                interface.errors.named().map(|(kind, count)| {
                    (vec![interface.name.clone(), kind.to_owned()], count as f64)
                })
            });
            series.collect()
        },
    ).from("rtnetlink").note("As `ip -s -s link` shows them: `rx_dropped`, `rx_missed` (the card's own buffer was full), `rx_errors`, `tx_dropped`, `tx_errors`")
    .by(&["interface", "kind"]),
];

fn by_interface(scrape: &Scrape<'_>, of: fn(&Queue) -> u64) -> Vec<Series> {
    let queues = scrape.interfaces.iter();
    let queues = queues.filter_map(|interface| {
        Some((vec![interface.name.clone()], of(interface.queue.as_ref()?) as f64))
    });
    queues.collect()
}
