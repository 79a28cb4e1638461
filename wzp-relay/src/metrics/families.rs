//! The families: name, type, help, labels and source, each in one place.

mod kernel;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::Sources;
use super::count::Count;
use super::reason::{PerReason, Reason};
use super::rooms::RoomTotal;
use super::stats::ShardStats;
use crate::kernel::{Flow, Statistics};
use crate::net::steering::Steering;

/// One series: a value for each label of the family, and the number.
type Series = (Vec<String>, f64);

/// One family and where its series come from.
struct Family {
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    labels: &'static [&'static str],
    series: fn(&Scrape<'_>) -> Vec<Series>,
}

/// What one scrape reads once and several families show.
struct Scrape<'a> {
    sources: &'a Sources,
    rooms: Vec<RoomTotal>,
    kernel: Statistics,
    flows: Vec<Flow>,
}

impl Scrape<'_> {
    /// The sum of one number over all shards.
    fn sum(&self, of: impl Fn(&ShardStats) -> &Count) -> Vec<Series> {
        let total: u64 = self.sources.shards.iter().map(|stats| of(stats).get()).sum();
        single(total as f64)
    }

    /// The same for each reason of a set.
    fn by_reason<R: Reason>(&self, of: impl Fn(&ShardStats) -> &PerReason<R>) -> Vec<Series> {
        R::ALL
            .iter()
            .map(|reason| {
                let total: u64 =
                    self.sources.shards.iter().map(|stats| of(stats)[*reason].get()).sum();
                (vec![reason.name().to_owned()], total as f64)
            })
            .collect()
    }

    fn by_room(&self, of: impl Fn(&RoomTotal) -> u64) -> Vec<Series> {
        self.rooms.iter().map(|total| (vec![total.room.to_string()], of(total) as f64)).collect()
    }
}

fn single(value: f64) -> Vec<Series> {
    vec![(Vec::new(), value)]
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    series: fn(&Scrape<'_>) -> Vec<Series>,
) -> Family {
    Family { name, kind: MetricType::GAUGE, help, labels: &[], series }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    series: fn(&Scrape<'_>) -> Vec<Series>,
) -> Family {
    Family { name, kind: MetricType::COUNTER, help, labels: &[], series }
}

impl Family {
    const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }
}

/// Every family there is: name, type and labels.
pub fn catalogue() -> impl Iterator<Item = (&'static str, &'static str, &'static [&'static str])> {
    FAMILIES.iter().chain(kernel::FAMILIES).map(|family| {
        let kind = if family.kind == MetricType::COUNTER { "counter" } else { "gauge" };
        (family.name, kind, family.labels)
    })
}

const FAMILIES: &[Family] = &[
    gauge("wzp_relay_active_sessions", "Current active sessions", |scrape| {
        single(scrape.sources.admission.population().sessions.into())
    }),
    gauge("wzp_relay_active_rooms", "Current active rooms", |scrape| {
        scrape.sum(|shard| &shard.rooms)
    }),
    counter(
        "wzp_relay_packets_forwarded_total",
        "Packets forwarded to the members of a room; wzp_relay_forwarded_source tells what counts them",
        |scrape| match scrape.sources.accounts.counts_rooms() {
            true => scrape.by_room(|total| total.wire_packets),
            false => scrape.by_room(|total| total.packets),
        },
    )
    .by(&["room"]),
    counter(
        "wzp_relay_bytes_forwarded_total",
        "Their bytes",
        |scrape| match scrape.sources.accounts.counts_rooms() {
            true => scrape.by_room(|total| total.wire_bytes),
            false => scrape.by_room(|total| total.bytes),
        },
    )
    .by(&["room"]),
    gauge(
        "wzp_relay_overflow_rooms",
        "Rooms, counted once per shard, that share the series room=\"_overflow\" because of metrics.max_room_series",
        |scrape| single(scrape.sources.rooms.overflowing() as f64),
    ),
    gauge(
        "wzp_relay_pending_connections",
        "Connections that have not joined a room yet",
        |scrape| single(scrape.sources.admission.population().handshakes.into()),
    ),
    counter("wzp_relay_connections_total", "QUIC connections taken on", |scrape| {
        scrape.sum(|shard| &shard.connections_accepted)
    }),
    counter(
        "wzp_relay_connections_refused_total",
        "QUIC connections refused at their first packet, by reason",
        |scrape| scrape.by_reason(|shard| &shard.connections_refused),
    )
    .by(&["reason"]),
    counter(
        "wzp_relay_connections_closed_total",
        "QUIC connections taken on that are over, by reason",
        |scrape| scrape.by_reason(|shard| &shard.connections_closed),
    )
    .by(&["reason"]),
    counter(
        "wzp_relay_retries_sent_total",
        "First packets answered with Retry because limits.handshakes was half used up",
        |scrape| scrape.sum(|shard| &shard.retries_sent),
    ),
    counter("wzp_relay_sessions_joined_total", "Sessions that entered a room", |scrape| {
        scrape.sum(|shard| &shard.sessions_joined)
    }),
    counter(
        "wzp_relay_media_packets_received_total",
        "Media datagrams that came from participants",
        |scrape| scrape.sum(|shard| &shard.media_packets_received),
    ),
    counter(
        "wzp_relay_media_bytes_received_total",
        "Bytes of media datagrams that came from participants, headers included",
        |scrape| scrape.sum(|shard| &shard.media_bytes_received),
    ),
    counter(
        "wzp_relay_media_packets_forwarded_total",
        "Media datagrams handed to receivers' connections, all rooms since the start",
        |scrape| scrape.sum(|shard| &shard.media_packets_forwarded),
    ),
    counter(
        "wzp_relay_media_bytes_forwarded_total",
        "Bytes of media datagrams handed to receivers' connections, all rooms since the start",
        |scrape| scrape.sum(|shard| &shard.media_bytes_forwarded),
    ),
    counter("wzp_relay_packets_dropped_total", "Media datagrams dropped, by reason", |scrape| {
        scrape.by_reason(|shard| &shard.packets_dropped)
    })
    .by(&["reason"]),
    counter("wzp_relay_udp_packets_received_total", "UDP packets received", |scrape| {
        scrape.sum(|shard| &shard.udp_packets_received)
    }),
    counter(
        "wzp_relay_udp_packets_sent_total",
        "UDP packets given to the kernel",
        |scrape| scrape.sum(|shard| &shard.udp_packets_sent),
    ),
    counter(
        "wzp_relay_udp_packets_with_media_total",
        "UDP packets made that carry media; forwarded media datagrams divided by these is what bundling gives",
        |scrape| scrape.sum(|shard| &shard.udp_packets_with_media),
    ),
    counter(
        "wzp_relay_udp_send_errors_total",
        "UDP packets that the kernel did not take",
        |scrape| scrape.sum(|shard| &shard.udp_send_errors),
    ),
    counter(
        "wzp_relay_misrouted_packets_total",
        "UDP packets that came to a shard other than the one their connection id names, and were handed on",
        |scrape| scrape.sum(|shard| &shard.misrouted_packets),
    ),
    gauge(
        "wzp_relay_steering",
        "1 for what steers packets to their shards: an eBPF program, a classic BPF filter, or nothing",
        |scrape| {
            let used = |by| f64::from(u8::from(by == scrape.sources.steering));
            Steering::ALL.map(|by| (vec![by.name().to_owned()], used(by))).into()
        },
    )
    .by(&["by"]),
    gauge("wzp_relay_shards", "Shards that forward", |scrape| {
        single(scrape.sources.shards.len() as f64)
    }),
    gauge("wzp_relay_draining", "1 while the relay takes nobody in, else 0", |scrape| {
        single(f64::from(u8::from(!scrape.sources.is_ready())))
    }),
    counter(
        "wzp_relay_log_lines_dropped_total",
        "Log lines dropped because standard error did not take them in time",
        |scrape| single((scrape.sources.log_lines_dropped)() as f64),
    ),
    gauge("wzp_relay_uptime_seconds", "Time since the relay started", |scrape| {
        single(scrape.sources.started.elapsed().as_secs_f64())
    }),
    gauge("wzp_relay_build_info", "Always 1; the label tells the version", |_| {
        vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)]
    })
    .by(&["version"]),
];

/// Shows all families of [`FAMILIES`] to the registry.
pub(super) struct Families {
    sources: Sources,
    descriptions: Vec<Desc>,
}

impl Families {
    pub(super) fn new(sources: Sources) -> prometheus::Result<Self> {
        let descriptions = FAMILIES
            .iter()
            .chain(kernel::FAMILIES)
            .map(|family| {
                let labels = family.labels.iter().map(ToString::to_string).collect();
                Desc::new(family.name.into(), family.help.into(), labels, Default::default())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { sources, descriptions })
    }
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The rooms' counts as they are now, not as of the last tick.
        self.sources.accounts.settle();
        let scrape = Scrape {
            sources: &self.sources,
            rooms: self.sources.rooms.scrape(),
            kernel: self.sources.accounts.reader().statistics(),
            flows: self.sources.accounts.flows(),
        };
        let families = FAMILIES.iter().chain(kernel::FAMILIES);
        families.map(|family| family.collect(&scrape)).collect()
    }
}

impl Family {
    fn collect(&self, scrape: &Scrape<'_>) -> MetricFamily {
        let metrics =
            (self.series)(scrape).into_iter().map(|(labels, value)| self.metric(labels, value));
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics.collect());
        family
    }

    fn metric(&self, labels: Vec<String>, value: f64) -> Metric {
        let mut metric = Metric::default();
        let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        metric.set_label(pairs.collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}
