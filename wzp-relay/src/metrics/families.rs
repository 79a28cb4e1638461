//! The families: name, type, help, labels and source, each in one place.

mod auth;
mod kernel;
mod network;
mod operation;
mod session;
mod wraith;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use wzp_telemetry::cpu::{self, Usage};
use wzp_telemetry::health::{Health, Report};
use wzp_telemetry::lock::Mutex;
use wzp_telemetry::metrics::{
    self as telemetry, Description, HistogramSeries, Registry, Series, Source, single,
};

use super::Sources;
use crate::accounts::Flow;
use crate::build_info;
use crate::words::seconds;
use wzp_kernel::Statistics;
use wzp_kernel::queues::InterfaceCounts;
use wzp_kernel::steering::Steering;
use wzp_sfu::count::number::Count;
use wzp_sfu::count::reason::{PerReason, Reason};
use wzp_sfu::count::rooms::RoomTotal;
use wzp_sfu::count::sessions::SessionScrape;
use wzp_sfu::count::stats::ShardStats;

/// Families over this relay's [`Scrape`].
type Family = telemetry::Family<Exported>;

/// Where the families' numbers come from.
struct Exported {
    sources: Sources,
    health: Arc<dyn Health>,
    /// Of each shard's thread.
    loads: Mutex<Vec<Usage>>,
}

impl Exported {
    fn new(sources: Sources, health: Arc<dyn Health>) -> Self {
        let now = Instant::now();
        // A thread that has not begun yet has used nothing.
        let used = |shard| used(shard).unwrap_or(0.0);
        let loads = sources.shards.iter().map(|shard| Usage::new(now, used(shard))).collect();
        Self { sources, health, loads: Mutex::new(loads) }
    }

    /// What each shard's thread takes of what one thread can have, in per cent; absent
    /// where the system does not tell, and in the first second.
    fn loads(&self) -> Vec<Option<f64>> {
        // A quota below one processor is for all threads together.
        let (now, most) = (Instant::now(), cpu::allowed().min(1.0));
        // Each is replaced whole, so a panic elsewhere is no harm.
        let mut loads = self.loads.lock();
        let told = loads.iter_mut().zip(self.sources.shards.iter());
        let told = told.map(|(load, shard)| load.update(now, used(shard)?, most));
        told.collect()
    }
}

/// Processor time that a shard's thread has used, in seconds.
fn used(shard: &ShardStats) -> Option<f64> {
    cpu::of_thread(u32::try_from(shard.thread.get()).ok()?)
}

impl Source for Exported {
    type Scrape<'a> = Scrape<'a>;

    fn scrape(&self) -> Scrape<'_> {
        let sources = &self.sources;
        // The rooms' counts as they are now, not as of the last tick.
        sources.accounts.settle();
        let now = Instant::now();
        let sessions = sources.sessions.scrape(now);
        let participants = sessions.shown.iter().map(|reading| &reading.participant);
        let sessions_began: HashMap<_, _> =
            participants.map(|one| (one.id.to_string(), one.joined_at)).collect();
        let mut flows = sources.accounts.flows();
        flows.retain(|flow| sessions_began.contains_key(&flow.session));
        let rooms = sources.rooms.scrape(now);
        Scrape {
            sources,
            rooms_began: rooms
                .iter()
                .filter_map(|total| Some((total.room.clone(), total.began?)))
                .collect(),
            rooms,
            sessions_began,
            kernel: sources.accounts.reader().statistics(),
            flows,
            sessions,
            connections: wraith::Connections::read(&sources.shards),
            receive_drops: sources.receive_drops.total(),
            loads: self.loads(),
            interfaces: sources.interfaces.counts(),
            health: self.health.report(),
        }
    }
}

/// What one scrape reads once and several families show.
struct Scrape<'a> {
    sources: &'a Sources,
    rooms: Vec<RoomTotal>,
    rooms_began: HashMap<Arc<str>, SystemTime>,
    /// When those that have series entered their rooms.
    sessions_began: HashMap<String, SystemTime>,
    kernel: Statistics,
    /// Those of sessions that have series.
    flows: Vec<Flow>,
    sessions: SessionScrape,
    connections: wraith::Connections,
    receive_drops: Option<u64>,
    loads: Vec<Option<f64>>,
    interfaces: Vec<InterfaceCounts>,
    health: Report,
}

impl Scrape<'_> {
    /// One number of all shards together.
    fn total(&self, of: impl Fn(&ShardStats) -> &Count) -> u64 {
        self.sources.shards.iter().map(|stats| of(stats).get()).sum()
    }

    /// The sum of one number over all shards.
    fn sum(&self, of: impl Fn(&ShardStats) -> &Count) -> Vec<Series> {
        single(self.total(of) as f64)
    }

    /// UDP packets that the kernel did not take.
    fn udp_send_errors(&self) -> u64 {
        self.sources.shards.iter().map(|stats| stats.udp_send_errors()).sum()
    }

    /// The same for each reason of a set.
    fn by_reason<R: Reason>(&self, of: impl Fn(&ShardStats) -> &PerReason<R>) -> Vec<Series> {
        R::ALL
            .iter()
            .map(|reason| {
                let total = self.total(|stats| &of(stats)[*reason]);
                (vec![reason.name().to_owned()], total as f64)
            })
            .collect()
    }

    fn by_room(&self, of: impl Fn(&RoomTotal) -> u64) -> Vec<Series> {
        self.rooms.iter().map(|total| (vec![total.room.to_string()], of(total) as f64)).collect()
    }
}

/// When a room's counts began.
fn room_began(scrape: &Scrape<'_>, labels: &[String]) -> Option<SystemTime> {
    scrape.rooms_began.get(labels.first()?.as_str()).copied()
}

/// When a session's counts began.
fn session_began(scrape: &Scrape<'_>, labels: &[String]) -> Option<SystemTime> {
    scrape.sessions_began.get(labels.first()?).copied()
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    series: fn(&Scrape<'_>) -> Vec<Series>,
) -> Family {
    Family::gauge(name, help, series)
}

const fn counter(
    name: &'static str,
    help: &'static str,
    series: fn(&Scrape<'_>) -> Vec<Series>,
) -> Family {
    Family::counter(name, help, series)
}

const fn histogram(
    name: &'static str,
    help: &'static str,
    series: fn(&Scrape<'_>) -> Vec<HistogramSeries>,
) -> Family {
    Family::histogram(name, help, series)
}

/// The registry of all of the relay's own families.
///
/// # Errors
/// Two have the same name.
pub fn registry(sources: Sources, health: Arc<dyn Health>) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Exported::new(sources, health), families())?;
    Ok(registry)
}

/// Families of one table, all over the same numbers.
type Table = (&'static str, &'static [&'static [Family]]);

/// All families, by the table of docs/metrics.md that shows them.
const TABLES: &[Table] = &[
    ("relay", &[FAMILIES, auth::FAMILIES, network::FAMILIES, operation::FAMILIES]),
    ("kernel", &[kernel::FAMILIES]),
    ("sessions", &[session::FAMILIES]),
    ("wraith", &[wraith::FAMILIES]),
];

/// Every family there is, by table.
pub fn catalogue() -> Vec<(&'static str, Vec<Description>)> {
    let of =
        |parts: &[&[Family]]| parts.iter().copied().flatten().map(Family::description).collect();
    let tables = TABLES.iter().map(|(name, parts)| (*name, of(parts)));
    tables.chain([("programs", telemetry::common().collect())]).collect()
}

fn families() -> impl Iterator<Item = &'static Family> {
    TABLES.iter().flat_map(|(_, parts)| parts.iter().copied().flatten())
}

const FAMILIES: &[Family] = &[
    gauge("wzp_relay_active_sessions", "Current active sessions", |scrape| {
        single(scrape.sources.admission.population().sessions.into())
    }).from("admission").note("Those in rooms now"),
    gauge("wzp_relay_active_rooms", "Current active rooms", |scrape| {
        scrape.sum(|shard| &shard.rooms)
    }).from("rooms' home shards").note("Those with members now"),
    counter(
        "wzp_relay_packets_forwarded_total",
        "Packets forwarded to the members of a room; wzp_relay_forwarded_source tells what counts them",
        |scrape| match scrape.sources.accounts.counts_rooms() {
            true => scrape.by_room(|total| total.wire_packets),
            false => scrape.by_room(|total| total.packets),
        },
    ).from("kernel, or shards").note("See [below](#what-counts-as-forwarded)")
    .by(&["room"])
    .began(room_began),
    counter(
        "wzp_relay_bytes_forwarded_total",
        "Bytes of those packets",
        |scrape| match scrape.sources.accounts.counts_rooms() {
            true => scrape.by_room(|total| total.wire_bytes),
            false => scrape.by_room(|total| total.bytes),
        },
    ).from("kernel, or shards")
    .by(&["room"])
    .began(room_began),
    gauge(
        "wzp_relay_overflow_rooms",
        "Rooms, counted once per shard, that share the series room=\"_overflow\" because of metrics.max_room_series",
        |scrape| single(scrape.sources.rooms.overflowing() as f64),
    ).from("rooms"),
    counter(
        "wzp_relay_last_values_cut_short_total",
        "Series of rooms and sessions that had ended, dropped before metrics.keep_ended because living ones needed their place",
        |scrape| {
            let Sources { rooms, sessions, .. } = scrape.sources;
            [("room", &rooms.retention), ("session", &sessions.retention)]
                .map(|(kind, retention)| (vec![kind.to_owned()], retention.cut_short() as f64))
                .into()
        },
    ).from("rooms, sessions").note("`kind` is `room` or `session`. Raise `metrics.max_room_series` or `metrics.max_session_series`, or scrape more often and keep them for less")
    .by(&["kind"]),
    gauge(
        "wzp_relay_pending_connections",
        "Connections that have not joined a room yet",
        |scrape| single(scrape.sources.admission.population().handshakes.into()),
    ).from("admission"),
    counter("wzp_relay_connections_total", "QUIC connections taken on", |scrape| {
        scrape.sum(|shard| &shard.connections_accepted)
    }).from("shards"),
    counter(
        "wzp_relay_connections_refused_total",
        "QUIC connections refused at their first packet, by reason",
        |scrape| scrape.by_reason(|shard| &shard.connections_refused),
    ).from("shards").note("`address` (`limits.sessions_per_address`), `site` (`limits.sessions_per_site`), `network` (`limits.sessions_per_network`), `handshakes` (`limits.handshakes`, or its prefix's share), `invalid` (not acceptable QUIC or TLS, such as another ALPN)")
    .by(&["reason"]),
    counter(
        "wzp_relay_connections_closed_total",
        "QUIC connections taken on that are over, by reason",
        |scrape| scrape.by_reason(|shard| &shard.connections_closed),
    ).from("shards").note("Each one taken on ends here exactly once; the reasons are [below](#why-connections-end)")
    .by(&["reason"]),
    counter(
        "wzp_relay_retries_sent_total",
        "First packets answered with Retry, because the relay or the prefix that they come from is crowded",
        |scrape| scrape.sum(|shard| &shard.retries_sent),
    ).from("shards"),
    counter("wzp_relay_sessions_joined_total", "Sessions that entered a room", |scrape| {
        scrape.sum(|shard| &shard.sessions_joined)
    }).from("shards"),
    counter(
        "wzp_relay_membership_changes_total",
        "Joins, leaves and mutes that the members of a room are told of",
        |scrape| scrape.sum(|shard| &shard.membership_changes),
    ).from("rooms' home shards").note("The join of a room's first member and the leave of its last are not among them"),
    counter(
        "wzp_relay_membership_changes_deferred_total",
        "Changes of membership that waited because the room had been told of others within limits.membership_window",
        |scrape| scrape.sum(|shard| &shard.membership_changes_deferred),
    ).from("rooms' home shards"),
    counter(
        "wzp_relay_membership_messages_total",
        "Messages that told a room of changes of membership, each counted once for all its members",
        |scrape| scrape.sum(|shard| &shard.membership_messages),
    ).from("rooms' home shards").note("Changes divided by these is what gathering them gives"),
    counter(
        "wzp_relay_media_packets_received_total",
        "Media datagrams that came from participants",
        |scrape| scrape.sum(|shard| &shard.media_packets_received),
    ).from("shards").note("Counted before any check"),
    counter(
        "wzp_relay_media_bytes_received_total",
        "Bytes of media datagrams that came from participants, headers included",
        |scrape| scrape.sum(|shard| &shard.media_bytes_received),
    ).from("shards"),
    counter(
        "wzp_relay_media_packets_forwarded_total",
        "Media datagrams handed to receivers' connections, all rooms since the start",
        |scrape| scrape.sum(|shard| &shard.media_packets_forwarded),
    ).from("shards").note("Stays when rooms end"),
    counter(
        "wzp_relay_media_bytes_forwarded_total",
        "Bytes of media datagrams handed to receivers' connections, all rooms since the start",
        |scrape| scrape.sum(|shard| &shard.media_bytes_forwarded),
    ).from("shards"),
    counter("wzp_relay_packets_dropped_total", "Media datagrams dropped, by reason", |scrape| {
        scrape.by_reason(|shard| &shard.packets_dropped)
    }).from("shards").note("The reasons are [below](#why-media-is-dropped)")
    .by(&["reason"]),
    counter(
        "wzp_relay_reports_refused_total",
        "What receiver reports say of one sender, ignored, by reason",
        |scrape| scrape.by_reason(|shard| &shard.reports_refused),
    ).from("shards").note("`impossible` (a field is out of [its bounds](protocol.md#receiverreport-client-and-senderfeedback-relay)), `repeated` (that sender a second time), `unknown_sender` (nobody of that number was forwarded in the last 10 s; some come from the network's delay), `leap` (a total grew faster than can be), `shard_queue` (the queue to the shard of a sender was full)")
    .by(&["reason"]),
    counter(
        "wzp_relay_reports_exaggerated_total",
        "What receiver reports say of one sender with more than twice the loss that the relay knows of, reduced to that",
        |scrape| scrape.sum(|shard| &shard.reports_exaggerated),
    ).from("shards").note("A listener notices a loss somewhat before QUIC does, so a few are honest; one second after the other from one listener are not"),
    counter("wzp_relay_udp_packets_received_total", "UDP packets received", |scrape| {
        scrape.sum(|shard| &shard.udp_packets_received)
    }).from("shards"),
    counter(
        "wzp_relay_udp_packets_sent_total",
        "UDP packets given to the kernel",
        |scrape| scrape.sum(|shard| &shard.udp_packets_sent),
    ).from("shards"),
    counter(
        "wzp_relay_udp_packets_with_media_total",
        "UDP packets made that carry media",
        |scrape| scrape.sum(|shard| &shard.udp_packets_with_media),
    ).from("shards").note("`wzp_relay_media_packets_forwarded_total` divided by these is frames per packet: what bundling gives"),
    counter(
        "wzp_relay_udp_send_errors_total",
        "UDP packets that the kernel did not take; wzp_relay_udp_packets_unsent_total tells why",
        |scrape| single(scrape.udp_send_errors() as f64),
    ).from("sockets"),
    counter(
        "wzp_relay_udp_packets_unsent_total",
        "UDP packets that never left, by reason: refused by the kernel, or dropped while they waited for a full send buffer",
        |scrape| scrape.by_reason(|shard| &shard.udp_unsent),
    ).from("sockets").note("`refused` by the kernel (no route, a firewall, too long for the path), `stale` after 200 ms of waiting, or `crowded` out by newer ones (`limits.send_buffer_bytes` for a destination, `limits.unsent_bytes` for all). [What to do](operations.md#an-interface-or-a-neighbour-that-stalls)")
    .by(&["reason"]),
    counter(
        "wzp_relay_udp_packets_held_total",
        "UDP packets that had to wait because a send buffer was full",
        |scrape| scrape.sum(|shard| &shard.udp_packets_held),
    ).from("sockets").note("Whatever became of them"),
    gauge(
        "wzp_relay_udp_packets_waiting",
        "UDP packets that wait because a send buffer is full",
        |scrape| scrape.sum(|shard| &shard.udp_packets_waiting),
    ).from("sockets"),
    gauge("wzp_relay_send_lanes", "Sockets that shards send by", |scrape| {
        scrape.sum(|shard| &shard.send_lanes)
    }).from("start").note("Eight for each shard; one each if the kernel does not steer or the limit of open files is low, which the log says"),
    gauge("wzp_relay_send_lanes_full", "Sockets to send by whose send buffer is full", |scrape| {
        scrape.sum(|shard| &shard.send_lanes_full)
    }).from("sockets"),
    counter(
        "wzp_relay_send_lane_full_seconds_total",
        "For how long send buffers were full, all sockets together",
        |scrape| single(scrape.total(|shard| &shard.send_lane_full_us) as f64 / 1e6),
    ).from("sockets").note("1 a second is one that never opens. Packets whose arrival the peer acknowledges do not wait for it"),
    counter(
        "wzp_relay_udp_receive_drops_total",
        "UDP packets that the kernel dropped because a shard did not read its socket in time",
        |scrape| scrape.receive_drops.map_or_else(Vec::new, |drops| single(drops as f64)),
    ).from("SO_MEMINFO").note("The machine is overloaded, or the buffers are small (`relay.receive_buffer_bytes`, `net.core.rmem_max`). Absent where the system does not tell"),
    counter(
        "wzp_relay_misrouted_packets_total",
        "UDP packets that came to a shard other than the one their connection id names, and were handed on",
        |scrape| scrape.sum(|shard| &shard.misrouted_packets),
    ).from("shards").note("The kernel steers merged packets (GRO) by the first of them, so a client with several connections on one port causes some; many mean that the kernel does not steer"),
    counter(
        "wzp_relay_moves_refused_total",
        "UDP packets dropped because they come from another host than their session's, which has moved there too often or has not finished its handshake",
        |scrape| scrape.sum(|shard| &shard.moves_refused),
    ).from("shards").note("Too often is more than five times, and then more than once a second. Another port of the same host is no move"),
    gauge(
        "wzp_relay_steering",
        "1 for what steers packets to their shards: an eBPF program, a classic BPF filter, or nothing",
        |scrape| {
            let used = |by| f64::from(u8::from(by == scrape.sources.steering));
            Steering::ALL.map(|by| (vec![by.name().to_owned()], used(by))).into()
        },
    ).from("start").note("`ebpf` (a program, with CAP_BPF), `classic` (a filter, also where there is one shard) or `none` (a kernel that can do neither, which the log says); decided at the start")
    .by(&["by"]),
    gauge("wzp_relay_shards", "Shards: threads that forward", |scrape| {
        single(scrape.sources.shards.len() as f64)
    }).from("start"),
    gauge(
        "wzp_relay_shard_cpu_usage_percent",
        "Processor time that a shard's thread used since the last look at least a second ago, in per cent of what one thread can have",
        |scrape| {
            let loads = scrape.loads.iter().enumerate();
            loads.filter_map(|(shard, load)| Some((vec![shard.to_string()], (*load)?))).collect()
        },
    ).from("`/proc/self/task`").note("Absent in the first second. 100 is a processor, or the process's quota if that is less. A shard at 100 is too slow, however idle the machine is")
    .by(&["shard"]),
    counter(
        "wzp_relay_shard_failures_total",
        "Times that a shard panicked and began again, without the sessions it had",
        |scrape| {
            let shards = scrape.sources.shards.iter().enumerate();
            shards.map(|(index, shard)| (vec![index.to_string()], shard.failures.get() as f64)).collect()
        },
    ).from("shards").note("See [design.md](design.md#when-a-shard-fails). Alert on any: it is a mistake in the relay, which the log describes")
    .by(&["shard"]),
    gauge(
        "wzp_relay_health_check",
        "1 if all is well with what is checked, 0 if not; /health says what is wrong",
        |scrape| {
            let checks = scrape.health.checks.iter();
            let passed = |passed| f64::from(u8::from(passed));
            checks
                .map(|check| (vec![check.name.to_owned()], passed(check.problem.is_none())))
                .collect()
        },
    ).from("health").note("See [health](#health)")
    .by(&["check"]),
    gauge("wzp_relay_draining", "1 while the relay takes nobody in, else 0", |scrape| {
        single(f64::from(u8::from(!scrape.sources.is_ready())))
    }).from("signals, `ctl`"),
    gauge(
        "wzp_relay_certificate_expiry_timestamp_seconds",
        "When the certificate that new connections get expires, or the first of its chain, in seconds since 1970",
        |scrape| single(scrape.sources.certificate_expires.load(Ordering::Relaxed) as f64),
    ).from("certificate").note("Alert on `… - time() < 14 * 86400`"),
    gauge("wzp_relay_uptime_seconds", "Time since the relay started", |scrape| {
        single(seconds(scrape.sources.started.elapsed()))
    }).from("clock"),
    gauge("wzp_relay_build_info", "Always 1; the labels tell what was built", |_| {
        let labels = [
            build_info::VERSION,
            build_info::COMMIT,
            build_info::FEATURES,
            build_info::kernel_objects(),
        ];
        vec![(labels.map(str::to_owned).into(), 1.0)]
    }).from("build").note("They are what `wzp-relay --version` says: the commit (`development` of a debug build, `unknown` of one from neither a repository nor with `BUILD_COMMIT`), and the first 16 digits of the SHA-256 of `steer.o` and `wzp.o`, one behind the other: on little-endian machines those in `wzp-kernel/ebpf/bpfel`, on others those in `bpfeb`")
    .by(&["version", "commit", "features", "kernel_objects"]),
];
