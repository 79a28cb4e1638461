//! Members of rooms in this process: each a QUIC connection with a socket of
//! its own, so that it can have IP options and move to another.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, EndpointConfig, TokioRuntime, UdpStats};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tokio::time::{MissedTickBehavior, interval};
use wzp_proto::control::{Hello, Role};
use wzp_testbed::netns::{Family, Host};
use wzp_transport::join::{ControlReceiver, ControlSender, client_config, connect, enter, leave};
use wzp_transport::parameters;
use wzp_transport::trust::Trust;

use crate::count::Count;
use crate::frame::frame;

/// Frames a second; limits of the relay allow more.
pub(crate) const FRAMES_PER_SECOND: u32 = 50;

/// No Operation (RFC 791 section 3.1), eight times.
const OPTIONS: [u8; 8] = [1; 8];

/// How a member's packets look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Five frames of the longest size at a time; else single ones of any.
    pub(crate) bursts: bool,
    /// Whether QUIC may give the kernel several datagrams as one buffer.
    pub(crate) gso: bool,
    /// Whether its packets have IPv4 options.
    pub(crate) options: bool,
    /// Whether it moves to another port in the middle of the call, as when a
    /// router forgets its translation.
    pub(crate) moves: bool,
}

impl Manner {
    /// Bytes of IP and UDP headers that it sends before each payload.
    pub(crate) fn header_len(self, family: Family) -> u64 {
        header_len(family) + if self.options { OPTIONS.len() as u64 } else { 0 }
    }

    pub(crate) fn name(self) -> String {
        let words = [
            (self.bursts, "bursts", "voice"),
            (self.gso, ", GSO", ""),
            (self.options, ", IPv4 options", ""),
            (self.moves, ", moved", ""),
        ];
        words.map(|(holds, yes, no)| if holds { yes } else { no }).concat()
    }
}

/// Bytes of the headers of IP, without options, and UDP.
pub(crate) fn header_len(family: Family) -> u64 {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// A member of a room, which says nothing until it shall.
pub(crate) struct Member {
    pub(crate) manner: Manner,
    /// The port of its socket, and that of the one it moves to.
    pub(crate) ports: [u16; 2],
    next: Option<UdpSocket>,
    endpoint: Endpoint,
    connection: Connection,
    sender_id: u16,
    /// Dropping it would end the control stream.
    _sender: ControlSender,
}

impl Member {
    /// Joins a room of the relay with this fingerprint, from `host`.
    pub(crate) async fn join(
        host: &Host,
        manner: Manner,
        relay: SocketAddr,
        pin: &str,
        room: String,
    ) -> Self {
        let [first, next] = host.namespace.run(|| [(); 2].map(|()| socket(host, manner, relay)));
        let ports = [&first, &next].map(|socket| socket.local_addr().unwrap().port());
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), None, first, runtime).unwrap();
        let mut transport = parameters::client();
        transport
            .enable_segmentation_offload(manner.gso)
            // It is to be silent when it has nothing to say.
            .keep_alive_interval(None)
            // A burst waits until all of it can be sent at once.
            .datagram_send_buffer_size(64 * 1024);
        let mut config = client_config(Trust::Pinned(pin.parse().unwrap())).unwrap();
        config.transport_config(Arc::new(transport));
        let connection = connect(&endpoint, config, relay, "relay").await.unwrap();
        let hello = Hello { role: Role::Participant.into(), room, ..Hello::default() };
        let joined = enter(endpoint.clone(), connection.clone(), hello).await.unwrap();
        tokio::spawn(listen(connection.clone(), joined.receiver));
        let sender_id = joined.welcome.sender_id as u16;
        let (next, _sender) = (Some(next), joined.sender);
        Self { manner, ports, next, endpoint, connection, sender_id, _sender }
    }

    /// Sends so many frames. If it is one that moves, it does half-way.
    pub(crate) async fn talk(&mut self, frames: u32) {
        const BURST: u32 = 5;
        let together = if self.manner.bursts { BURST } else { 1 };
        let mut clock = interval(Duration::from_secs(1) * together / FRAMES_PER_SECOND);
        // A burst after a pause would be more than the relay allows.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sequence in 0..frames {
            if sequence % together == 0 {
                clock.tick().await;
            }
            if self.manner.moves && sequence == frames / 2 {
                self.endpoint.rebind(self.next.take().unwrap()).unwrap();
            }
            self.connection.send_datagram(self.frame(sequence).into()).unwrap();
        }
    }

    pub(crate) async fn leave(self) {
        leave(&self.endpoint, &self.connection).await;
    }

    /// What QUIC says it gave to the socket and got from it.
    pub(crate) fn quic(&self) -> Quic {
        let stats = self.connection.stats();
        let count = |udp: UdpStats| Count { packets: udp.datagrams, bytes: udp.bytes };
        Quic { sent: count(stats.udp_tx), received: count(stats.udp_rx) }
    }

    fn frame(&self, sequence: u32) -> Vec<u8> {
        /// Header included, as the relay counts it.
        const LONGEST: usize = 1100;
        let length = if self.manner.bursts { LONGEST } else { 60 + sequence as usize % 100 };
        frame(self.sender_id, sequence, length)
    }
}

/// Datagrams and bytes of their payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quic {
    pub(crate) sent: Count,
    pub(crate) received: Count,
}

/// Takes what comes until the session ends.
async fn listen(connection: Connection, mut control: ControlReceiver) {
    loop {
        tokio::select! {
            datagram = connection.read_datagram() => if datagram.is_err() { return },
            message = control.next() => if message.is_err() { return },
        }
    }
}

fn socket(host: &Host, manner: Manner, relay: SocketAddr) -> UdpSocket {
    let family = if relay.is_ipv4() { Family::V4 } else { Family::V6 };
    let socket = UdpSocket::bind((host.address(family), 0)).unwrap();
    // One thread serves all members: it may be away for a while.
    set_socket_recv_buffer_size_force(&socket, 4 * 1024 * 1024).unwrap();
    if manner.options {
        let length = OPTIONS.len() as libc::socklen_t;
        // SAFETY: the kernel reads as many bytes as it is told are there.
        let result = unsafe {
            let options = OPTIONS.as_ptr().cast();
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_OPTIONS,
                options,
                length,
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
    socket
}
