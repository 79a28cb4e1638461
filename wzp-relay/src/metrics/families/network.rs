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
    ),
    counter(
        "wzp_relay_interface_queue_packets_total",
        "Packets of any program that passed the queue before an interface",
        |scrape| by_interface(scrape, |queue| queue.packets),
    )
    .by(&["interface"]),
    counter(
        "wzp_relay_interface_queue_drops_total",
        "Packets of any program that the queue before an interface dropped",
        |scrape| by_interface(scrape, |queue| queue.drops),
    )
    .by(&["interface"]),
    gauge(
        "wzp_relay_interface_queue_packets_waiting",
        "Packets of any program that wait in the queue before an interface",
        |scrape| by_interface(scrape, |queue| queue.waiting),
    )
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
    )
    .by(&["interface", "kind"]),
];

fn by_interface(scrape: &Scrape<'_>, of: fn(&Queue) -> u64) -> Vec<Series> {
    let queues = scrape.interfaces.iter();
    let queues = queues.filter_map(|interface| {
        Some((vec![interface.name.clone()], of(interface.queue.as_ref()?) as f64))
    });
    queues.collect()
}
