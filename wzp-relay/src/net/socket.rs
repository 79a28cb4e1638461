//! The relay's UDP sockets: one address, one socket per shard to receive by, and
//! a few more to send by.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use quinn_udp::UdpSocketState;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use thiserror::Error;
use tracing::warn;
use wzp_telemetry::http::without_ipv6;
use wzp_telemetry::log::target;
use wzp_untrusted::file;

use wzp_kernel::steering::Steering;

/// Bytes that the kernel may hold of what a shard sends: 50 ms of what one core can
/// forward at all. `relay.receive_buffer_bytes` is the same for what comes.
pub(crate) const SEND_BUFFER: usize = 4 * 1024 * 1024;

/// Sockets that a shard sends by, the one that it receives by included: one for
/// each [`Standing`](wzp_sfu::conn::Standing), and spare ones. Where the system
/// gives no more than its default buffer (212,992 bytes), 300 listeners whose
/// path stalls fill one in 40 ms, and it is known after 100 that they are late.
pub(crate) const LANES: usize = 8;

/// Why the relay cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error(
        "cannot listen on UDP {address}: the port is in use; stop the other program or choose another port with --listen"
    )]
    InUse {
        /// The address wanted.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on UDP {address}: {reason}; the address is chosen with --listen")]
    Other {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
}

/// Binds `shards` sockets to the same address, for each of which the kernel holds so many
/// bytes, if it may. Port 0 takes a free one.
///
/// # Errors
/// [`ListenError`] with the address.
pub fn bind(
    address: SocketAddr,
    shards: usize,
    receive_buffer: u32,
) -> Result<Vec<UdpSocket>, ListenError> {
    let failed = |reason: io::Error| match reason.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Other { address, reason },
    };
    // Sockets that share a port would also share it with another relay of the
    // same user, each getting half of the packets. One that does not share
    // finds out.
    let open = |address, shared| open(address, shared, receive_buffer as usize);
    let alone = open(address, false)
        .or_else(|error| match without_ipv6(address, &error) {
            Some(instead) => open(instead, false),
            None => Err(error),
        })
        .map_err(failed)?;
    let address = UdpSocket::from(alone).local_addr().map_err(failed)?;
    let sockets = (0..shards).map(|_| open(address, true).map(UdpSocket::from));
    sockets.collect::<Result<_, _>>().map_err(failed)
}

/// Sockets like those of a relay that listens on `ip`, on an address that nobody else can
/// have: what they are like tells what this host gives a relay.
///
/// # Errors
/// This host has none of the addresses that it could be.
pub(crate) fn trial(
    ip: IpAddr,
    shards: usize,
    receive_buffer: u32,
) -> Result<Vec<UdpSocket>, ListenError> {
    let mut near: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    // Of the same family, if there is one.
    near.sort_by_key(|near| near.is_ipv4() != ip.is_ipv4());
    let bind = |ip| bind(SocketAddr::new(ip, 0), shards, receive_buffer);
    bind(near[0]).or_else(|_| bind(near[1])).or_else(|_| bind(ip))
}

/// Opens the sockets that shards only send by, for each of [`bind`]'s. None
/// unless the kernel steers what arrives to those: nobody reads these.
///
/// A system that allows fewer than wanted is no error, but told.
pub fn open_lanes(sockets: &[UdpSocket], steering: Steering) -> Vec<Vec<UdpSocket>> {
    let wanted = if steering == Steering::None { 0 } else { LANES - 1 };
    let mut lanes = Vec::new();
    for socket in sockets {
        let opened: io::Result<Vec<_>> = (0..wanted).map(|_| open_lane(socket)).collect();
        lanes.push(opened.unwrap_or_else(|error| {
            warn!(target: target::NET,
                %error,
                "a shard has but one socket to send by: a path that stalls may hold up \
                 others; raise the limit of open files"
            );
            Vec::new()
        }));
    }
    lanes
}

fn open_lane(beside: &UdpSocket) -> io::Result<UdpSocket> {
    let socket = open(beside.local_addr()?, true, 0)?;
    // What came here all the same would stay for ever.
    socket.attach_filter(&[SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)])?;
    let lane = UdpSocket::from(socket);
    // Forbids fragmentation, as for the sockets that are received by.
    UdpSocketState::new((&lane).into())?;
    Ok(lane)
}

fn open(address: SocketAddr, shared: bool, receive_buffer: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // [::] is for IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    set_buffers(&socket, receive_buffer)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// As much as wanted with CAP_NET_ADMIN, else as much as the system allows.
fn set_buffers(socket: &Socket, receive: usize) -> io::Result<()> {
    if set_socket_recv_buffer_size_force(socket, receive).is_err() {
        socket.set_recv_buffer_size(receive)?;
    }
    if set_socket_send_buffer_size_force(socket, SEND_BUFFER).is_err() {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    Ok(())
}

/// What a socket may hold, in bytes, and what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// What a receive buffer holds, and what was asked for.
    pub receive: (usize, usize),
    /// The same of a send buffer.
    pub send: (usize, usize),
}

impl Buffers {
    /// Those of the first socket, which all others are like.
    pub fn of(sockets: &[UdpSocket], receive_buffer: u32) -> Option<Self> {
        let socket = SockRef::from(sockets.first()?);
        // The kernel reports twice what was asked for: it counts its own overhead.
        Some(Self {
            receive: (socket.recv_buffer_size().ok()? / 2, receive_buffer as usize),
            send: (socket.send_buffer_size().ok()? / 2, SEND_BUFFER),
        })
    }

    /// What to tell the operator if the system's limits leave the sockets with less.
    pub fn problem(self) -> Option<String> {
        let small = |(size, wanted), what, sysctl| {
            (size < wanted).then(|| {
                format!("UDP {what} buffers have {size} bytes instead of {wanted} ({sysctl})")
            })
        };
        let small = [
            small(self.receive, "receive", "net.core.rmem_max"),
            small(self.send, "send", "net.core.wmem_max"),
        ];
        let small: Vec<_> = small.into_iter().flatten().collect();
        (!small.is_empty()).then(|| {
            format!(
                "{}, and may overflow under load; raise these sysctls or grant CAP_NET_ADMIN",
                small.join(" and ")
            )
        })
    }

    /// What raises the limits that are in the way, for a shell, and no others.
    pub(crate) fn remedy(self) -> Option<String> {
        self.remedy_from(|sysctl| {
            let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
            file::read_text(Path::new(&path), NUMBER).ok()?.trim().parse().ok()
        })
    }

    /// `present` tells what a sysctl is now: it shall not be less.
    fn remedy_from(self, present: impl Fn(&str) -> Option<usize>) -> Option<String> {
        let raised = |(size, wanted): (usize, usize), sysctl| {
            let value = wanted.max(present(sysctl).unwrap_or(0));
            (size < wanted).then(|| format!(" {sysctl}={value}"))
        };
        let raised =
            [raised(self.receive, "net.core.rmem_max"), raised(self.send, "net.core.wmem_max")];
        let raised: String = raised.into_iter().flatten().collect();
        (!raised.is_empty()).then(|| format!("sysctl -w{raised}"))
    }
}

/// Longest of the kernel's pages with a number in it, in bytes.
const NUMBER: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: u32 = 1 << 20;

    #[test]
    fn buffers_are_small_when_one_is_and_both_are_named() {
        let cases = [
            ((10, 10), (10, 10), None),
            ((20, 10), (10, 10), None),
            ((9, 10), (10, 10), Some("net.core.rmem_max")),
            ((10, 10), (9, 10), Some("net.core.wmem_max")),
            ((9, 10), (9, 10), Some("(net.core.rmem_max) and UDP send")),
        ];
        for (receive, send, part) in cases {
            let told = Buffers { receive, send }.problem();
            assert_eq!(told.is_some(), part.is_some(), "{told:?}");
            assert!(told.is_none_or(|told| told.contains(part.unwrap())));
        }
    }

    #[test]
    fn only_what_is_in_the_way_is_raised_and_nothing_lowered() {
        const BOTH: &str = "sysctl -w net.core.rmem_max=10 net.core.wmem_max=20";
        let cases = [
            ((10, 10), (20, 20), 0, None),
            ((9, 10), (19, 20), 0, Some(BOTH)),
            ((9, 10), (20, 20), 0, Some("sysctl -w net.core.rmem_max=10")),
            ((10, 10), (19, 20), 0, Some("sysctl -w net.core.wmem_max=20")),
            ((9, 10), (20, 20), 99, Some("sysctl -w net.core.rmem_max=99")),
        ];
        for (receive, send, present, expected) in cases {
            let command = Buffers { receive, send }.remedy_from(|_| Some(present));
            assert_eq!(command.as_deref(), expected);
        }
    }

    #[test]
    fn sockets_have_the_buffer_that_is_asked_for() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 2, 50_000).unwrap();
        assert_eq!(Buffers::of(&sockets, 50_000).unwrap().receive, (50_000, 50_000));
        assert_eq!(Buffers::of(&[], 50_000), None);
    }

    #[test]
    fn port_of_another_relay_is_refused_however_many_shards_both_have() {
        for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let sockets = bind("127.0.0.1:0".parse().unwrap(), first, BUFFER).unwrap();
            let taken = sockets[0].local_addr().unwrap();
            let error = bind(taken, second, BUFFER).unwrap_err();
            assert!(matches!(error, ListenError::InUse { .. }), "{first} and {second}: {error}");
        }
    }
}
