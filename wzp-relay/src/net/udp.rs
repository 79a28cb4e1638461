//! UDP sockets as a shard's way to the network: one to receive by, and more to send by.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::datapath::{Datapath, Received};
use super::send::Egress;
use super::socket::LANES;
use wzp_sfu::count::stats::ShardStats;
use wzp_sfu::limits::Limits;
use wzp_sfu::mail::Packet;
use wzp_sfu::path::Path;
use wzp_sfu::shard::OutPacket;

/// Largest packet taken from the network, that of an Ethernet frame. QUIC
/// peers learn it from the transport parameters and send none above.
const MAX_PACKET: usize = 1500;

/// The sockets of one shard.
pub(super) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    egress: Egress,
    buffers: [Vec<u8>; BATCH_SIZE],
}

impl Udp {
    /// Receives and sends by `socket`, and sends by `lanes`, which are bound to the same
    /// address and receive nothing.
    ///
    /// # Errors
    /// The system lacks what is asked of the socket.
    pub(super) fn new(
        socket: UdpSocket,
        lanes: Vec<UdpSocket>,
        stats: Arc<ShardStats>,
    ) -> io::Result<Self> {
        // Asks the kernel for destination addresses, congestion marks and
        // merged packets (GRO), and forbids fragmentation.
        let state = UdpSocketState::new((&socket).into())?;
        let size = MAX_PACKET * state.gro_segments();
        let buffers = array::from_fn(|_| vec![0; size]);
        Ok(Self { socket, state, egress: Egress::new(lanes, stats), buffers })
    }
}

impl Datapath for Udp {
    fn receive(&mut self, mut take: impl FnMut(Packet)) -> Received {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices = self.buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let received = self.state.recv((&self.socket).into(), &mut slices, &mut metas);
        // Errors are an empty socket, or an ICMP message about an earlier
        // packet, which QUIC does not act upon.
        let Ok(count) = received else { return Received::Nothing };
        for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
            let path = Path { remote: meta.addr, local: meta.dst_ip };
            let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            // One allocation per packet: a frame that is held for a slow
            // receiver must not hold all packets that came with it.
            for data in buffer[..meta.len].chunks(meta.stride.max(1)) {
                take(Packet { path, ecn, data: BytesMut::from(data) });
            }
        }
        if count < BATCH_SIZE { Received::All } else { Received::Full }
    }

    fn send(&mut self, packets: &[OutPacket], limits: &Limits, now: Instant) {
        self.egress.send(&self.socket, packets, limits, now);
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Option<Duration>) -> bool {
        if at_most == Some(Duration::ZERO) && !self.egress.is_blocked() {
            return false;
        }
        // What was kept gets too old.
        let expiry = self.egress.next_timeout();
        let expiry = expiry.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = [at_most, expiry].into_iter().flatten().min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let full = self.egress.full().count();
        let mut fds: [_; 2 + LANES] = {
            let mut lanes = self.egress.full().map(|(_, socket)| socket.unwrap_or(&self.socket));
            array::from_fn(|place| match place {
                0 => PollFd::new(&self.socket, PollFlags::IN),
                1 => PollFd::from_borrowed_fd(wake, PollFlags::IN),
                _ => PollFd::new(lanes.next().unwrap_or(&self.socket), PollFlags::OUT),
            })
        };
        // An error is a signal: the loop goes round once for nothing.
        let _ = poll(&mut fds[..2 + full], timeout.as_ref());
        let is_woken = fds[1].revents().contains(PollFlags::IN);
        let has_room = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::OUT);
        let lanes = self.egress.full().zip(&fds[2..]);
        // Allocates nothing while none is full.
        let opened: Vec<_> =
            lanes.filter(|(_, fd)| has_room(fd)).map(|((lane, _), _)| lane).collect();
        for lane in opened {
            self.egress.open(lane, Instant::now());
        }
        is_woken
    }

    fn begin_again(&mut self) {
        self.egress.begin_again();
    }
}
