//! What a shard sends, and by which of its sockets. Whatever does not leave, for
//! one destination or by one interface, nobody else's packet waits for it, and
//! the shard never does.

mod batch;
mod lanes;
mod waiting;

use std::mem;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Instant;

use wzp_telemetry::limited;

use batch::{BATCH, Sent};
use lanes::{Lane, Lanes};
use waiting::{Room, Waiting};
use wzp_sfu::conn::Standing;
use wzp_sfu::count::reason::UnsentReason;
use wzp_sfu::count::stats::ShardStats;
use wzp_sfu::limits::Limits;
use wzp_sfu::shard::OutPacket;

/// The worst standing first: who gets better in a turn has its packets leave in
/// order.
const WORST_FIRST: [Standing; 3] = [Standing::Stalled, Standing::Late, Standing::Prompt];

/// The way out of one shard.
#[derive(Debug)]
pub(super) struct Egress {
    /// Lane 0 is the socket that the shard receives by, then these.
    others: Vec<UdpSocket>,
    lanes: Lanes,
    waiting: Waiting,
    stats: Arc<ShardStats>,
}

impl Egress {
    /// Sends by the socket that it is given each time, and by these, which are
    /// bound to the same address and receive nothing.
    pub(super) fn new(others: Vec<UdpSocket>, stats: Arc<ShardStats>) -> Self {
        let count = others.len() + 1;
        stats.send_lanes.set(count as u64);
        Self { others, lanes: Lanes::new(count), waiting: Waiting::default(), stats }
    }

    /// Forgets what waits, after a panic in [`Self::send`].
    pub(super) fn begin_again(&mut self) {
        *self = Self::new(mem::take(&mut self.others), self.stats.clone());
        self.show_full();
    }

    /// Sends what waits, as far as its turn has come, and then these. What the
    /// sockets do not take waits.
    pub(super) fn send(
        &mut self,
        main: &UdpSocket,
        packets: &[OutPacket],
        limits: &Limits,
        now: Instant,
    ) {
        let room =
            Room { each: limits.send_buffer_bytes as usize, all: limits.unsent_bytes as usize };
        if self.is_blocked() {
            self.count_full_time(now);
            self.waiting.expire(now);
        }
        for standing in WORST_FIRST {
            if !self.waiting.is_empty() {
                self.send_waiting(main, standing, now);
            }
            self.send_new(main, standing, packets, room, now);
        }
        let dropped = self.waiting.take_dropped();
        self.stats.udp_unsent[UnsentReason::Stale].add(dropped.stale);
        self.stats.udp_unsent[UnsentReason::Crowded].add(dropped.crowded);
        self.stats.udp_packets_waiting.set(self.waiting.packets() as u64);
    }
    /// Sends what has waited before, each destination in turn.
    fn send_waiting(&mut self, main: &UdpSocket, standing: Standing, now: Instant) {
        while self.lanes.lane(standing).is_some() {
            let mut kept: Vec<_> = (0..BATCH).map_while(|_| self.waiting.next(standing)).collect();
            if kept.is_empty() {
                return;
            }
            let packets: Vec<_> = kept.iter().map(|kept| &kept.packet).collect();
            let done = self.send_batch(main, standing, &packets, now);
            for kept in kept.drain(done..).rev() {
                self.waiting.put_back(kept, standing);
            }
        }
    }

    /// Sends those of that standing, and keeps what does not leave and what must
    /// not overtake what waits.
    fn send_new(
        &mut self,
        main: &UdpSocket,
        standing: Standing,
        packets: &[OutPacket],
        room: Room,
        now: Instant,
    ) {
        let mut packets = packets.iter().filter(|packet| packet.standing == standing).peekable();
        while let Some(first) = packets.peek().copied() {
            let mut batch = [first; BATCH];
            let mut length = 0;
            while length < BATCH
                && let Some(packet) = packets.next()
            {
                if !self.waiting.is_empty() && self.waiting.has(packet.path.remote) {
                    self.keep(packet, room, now);
                } else {
                    batch[length] = packet;
                    length += 1;
                }
            }
            let done = self.send_batch(main, standing, &batch[..length], now);
            for packet in &batch[done..length] {
                self.keep(packet, room, now);
            }
        }
    }

    fn keep(&mut self, packet: &OutPacket, room: Room, now: Instant) {
        self.stats.udp_packets_held.add(1);
        self.waiting.keep(packet, now, room);
    }

    /// Sends packets of one standing until no lane takes any more; how many were
    /// done with.
    fn send_batch(
        &mut self,
        main: &UdpSocket,
        standing: Standing,
        packets: &[&OutPacket],
        now: Instant,
    ) -> usize {
        let (mut done, mut sent) = (0, Sent::default());
        while done < packets.len()
            && let Some(lane) = self.lanes.lane(standing)
        {
            let socket = lane.checked_sub(1).map_or(main, |other| &self.others[other]);
            done += batch::send(socket, &packets[done..], &mut sent);
            if let Some(blocked) = packets.get(done) {
                self.lanes.fill(lane, now);
                self.stats.send_lane_fills.add(1);
                self.show_full();
                limited!(NET, WARN, per_minute(6), dst_ip = %blocked.path.remote.ip().to_canonical(),
                         "a send buffer is full: an interface or a neighbour, perhaps of this \
                          destination, is slower than what is sent to it");
            }
        }
        self.stats.udp_packets_sent.add(sent.packets);
        self.stats.udp_bytes_sent.add(sent.bytes);
        self.stats.udp_unsent[UnsentReason::Refused].add(sent.refused);
        done
    }

    /// Whether there is a lane that takes nothing, or something that waits.
    pub(super) fn is_blocked(&self) -> bool {
        self.lanes.full().next().is_some() || !self.waiting.is_empty()
    }

    /// Lanes that take nothing, with the sockets to wait for: the shard's own is
    /// `None`.
    pub(super) fn full(&self) -> impl Iterator<Item = (Lane, Option<&UdpSocket>)> {
        self.lanes.full().map(|lane| (lane, lane.checked_sub(1).map(|other| &self.others[other])))
    }

    /// A lane takes packets again.
    pub(super) fn open(&mut self, lane: Lane, now: Instant) {
        self.count_full_time(now);
        self.lanes.open(lane, now);
        self.show_full();
    }

    fn count_full_time(&mut self, now: Instant) {
        let full = self.lanes.take_full_time(now);
        self.stats.send_lane_full_us.add(full.as_micros() as u64);
    }

    fn show_full(&self) {
        self.stats.send_lanes_full.set(self.lanes.full().count() as u64);
    }

    /// When what waits is too old.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.next_expiry()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use socket2::SockRef;
    use wzp_testbed::impair::bottleneck;
    use wzp_testbed::netns::{Namespace, cable};
    use wzp_testbed::skip;

    use wzp_sfu::path::Path;

    use super::*;
    use wzp_kernel::steering;

    use crate::net::socket;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A shard's sockets on a host with a slow interface and a good one, and who
    /// listens behind each.
    struct Scene {
        main: UdpSocket,
        egress: Egress,
        stats: Arc<ShardStats>,
        slow: UdpSocket,
        good: UdpSocket,
        host: Namespace,
        _others: [Namespace; 2],
    }

    impl Scene {
        fn new() -> Self {
            let names = ["relay", "slow", "good"];
            let [host, slow, good] = names.map(|name| Namespace::new(name).unwrap());
            let [_, to_slow] = cable([&host, &slow], "slow", 1).unwrap();
            let [_, to_good] = cable([&host, &good], "good", 2).unwrap();
            // Less than a packet in the time that a test takes, after the first 16 kB.
            bottleneck::outgoing(&host, "slow", 100, 64 * 1024 * 1024).unwrap();
            let (main, lanes) = host.run(|| {
                let mut sockets = socket::bind("0.0.0.0:0".parse().unwrap(), 1, 1 << 20).unwrap();
                let steering = steering::start(&sockets, false);
                let mut lanes = socket::open_lanes(&sockets, steering);
                (sockets.remove(0), lanes.remove(0))
            });
            for socket in lanes.iter().chain([&main]) {
                SockRef::from(socket).set_send_buffer_size(16 * 1024).unwrap();
            }
            let stats = Arc::new(ShardStats::default());
            let listen = |at: &Namespace, address| {
                at.run(|| {
                    let socket = UdpSocket::bind((address, 4000)).unwrap();
                    socket.set_read_timeout(Some(LIMIT)).unwrap();
                    socket
                })
            };
            Self {
                egress: Egress::new(lanes, stats.clone()),
                main,
                stats,
                slow: listen(&slow, to_slow),
                good: listen(&good, to_good),
                host,
                _others: [slow, good],
            }
        }

        fn send(&mut self, to: SocketAddr, standing: Standing, numbers: std::ops::Range<u8>) {
            let packet = |number| OutPacket {
                path: Path { remote: to, local: None },
                ecn: None,
                standing,
                bytes: vec![number; 100],
            };
            let packets: Vec<_> = numbers.map(packet).collect();
            self.egress.send(&self.main, &packets, &Limits::default(), Instant::now());
        }

        fn held(&self) -> u64 {
            self.stats.udp_packets_held.get()
        }
    }

    /// What somebody gets up to that packet.
    fn heard(socket: &UdpSocket, last: u8) -> Vec<u8> {
        let mut all = Vec::new();
        while all.last() != Some(&last) {
            let mut bytes = [0; 200];
            socket.recv(&mut bytes).unwrap();
            all.push(bytes[0]);
        }
        all
    }

    #[test]
    fn whatever_fills_a_socket_the_others_packets_leave_at_once() {
        let test = "whatever_fills_a_socket_the_others_packets_leave_at_once";
        if !skip::have_bottlenecks(test) {
            return;
        }
        let mut scene = Scene::new();
        let [slow, good] = [&scene.slow, &scene.good].map(|socket| socket.local_addr().unwrap());
        // One has stalled for long, the next is late, and of two it is not known yet.
        // Some 40 fill a socket, after the 112 that leave.
        for (number, (standing, packets)) in (0..).zip([
            (Standing::Stalled, 200),
            (Standing::Late, 60),
            (Standing::Prompt, 60),
            (Standing::Prompt, 60),
        ]) {
            let slow = SocketAddr::new(slow.ip(), slow.port() + number as u16);
            scene.send(slow, standing, 0..packets);
            assert!(scene.stats.send_lanes_full.get() > number, "{number}");
            let held = scene.held();
            let first = number as u8 * 20;
            scene.send(good, Standing::Prompt, first..first + 20);
            assert_eq!(scene.held(), held, "those of {number} wait");
            let expected: Vec<_> = (first..first + 20).collect();
            assert_eq!(heard(&scene.good, first + 19), expected);
        }
        assert!(scene.stats.udp_unsent[UnsentReason::Crowded].get() > 0);
        assert_eq!(scene.stats.udp_unsent[UnsentReason::Refused].get(), 0);
    }

    #[test]
    fn what_waits_leaves_in_its_order_once_there_is_room() {
        let test = "what_waits_leaves_in_its_order_once_there_is_room";
        if !skip::have_bottlenecks(test) {
            return;
        }
        let mut scene = Scene::new();
        let slow = scene.slow.local_addr().unwrap();
        let mut sent = 0;
        while scene.held() < 5 {
            scene.send(slow, Standing::Stalled, sent..sent + 1);
            sent += 1;
        }
        // Its standing changes while some of it waits, which must not be overtaken.
        scene.send(slow, Standing::Prompt, sent..sent + 3);
        assert_eq!(scene.held(), 8);
        // This drops what the kernel has taken and not sent.
        scene.host.command("tc").args("qdisc del dev slow root".split(' ')).status().unwrap();
        let full: Vec<_> = scene.egress.full().map(|(lane, _)| lane).collect();
        for lane in full {
            let mut fds = [PollFd::new(&scene.egress.others[lane - 1], PollFlags::OUT)];
            let limit = Timespec::try_from(LIMIT).unwrap();
            assert_eq!(poll(&mut fds, Some(&limit)), Ok(1));
            scene.egress.open(lane, Instant::now());
        }
        scene.send(slow, Standing::Prompt, sent + 3..sent + 4);
        let all = heard(&scene.slow, sent + 3);
        assert!(all.is_sorted(), "{all:?}");
        assert!(all.ends_with(&(sent - 5..sent + 4).collect::<Vec<_>>()), "{all:?}");
        assert_eq!(scene.stats.udp_packets_waiting.get(), 0);
        assert_eq!(scene.stats.send_lanes_full.get(), 0);
    }
}
