//! The relay's UDP sockets: one address, one socket per shard to receive by, and
//! a few more to send by.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use quinn_udp::UdpSocketState;
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use thiserror::Error;
use tracing::warn;
use wzp_telemetry::http::without_ipv6;

use super::steering::Steering;

/// Bytes that the kernel may hold for a shard that is busy: 50 ms of what one
/// core can forward at all.
const BUFFER: usize = 4 * 1024 * 1024;

/// Sockets that a shard sends by, the one that it receives by included: one for
/// each [`Standing`](crate::shard::Standing), and spare ones. Where the system
/// gives no more than its default buffer (212,992 bytes), 300 listeners whose
/// path stalls fill one in 40 ms, and it is known after 100 that they are late.
pub(super) const LANES: usize = 8;

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

/// Binds `shards` sockets to the same address. Port 0 takes a free one.
///
/// # Errors
/// [`ListenError`] with the address.
pub fn bind(address: SocketAddr, shards: usize) -> Result<Vec<UdpSocket>, ListenError> {
    let failed = |reason: io::Error| match reason.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Other { address, reason },
    };
    // Sockets that share a port would also share it with another relay of the
    // same user, each getting half of the packets. One that does not share
    // finds out.
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
            warn!(
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
    let socket = open(beside.local_addr()?, true)?;
    // What came here all the same would stay for ever.
    socket.attach_filter(&[SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0)])?;
    let lane = UdpSocket::from(socket);
    // Forbids fragmentation, as for the sockets that are received by.
    UdpSocketState::new((&lane).into())?;
    Ok(lane)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // [::] is for IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    grow_buffers(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// As much as wanted with CAP_NET_ADMIN, else as much as the system allows.
fn grow_buffers(socket: &Socket) -> io::Result<()> {
    if set_socket_recv_buffer_size_force(socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if set_socket_send_buffer_size_force(socket, BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    Ok(())
}

/// What to tell the operator if the system's limits leave the sockets with less.
pub fn small_buffers(sockets: &[UdpSocket]) -> Option<String> {
    // The kernel reports twice what was asked for: it counts its own overhead.
    let size = SockRef::from(sockets.first()?).recv_buffer_size().ok()? / 2;
    (size < BUFFER).then(|| {
        format!(
            "UDP receive buffers have {size} bytes instead of {BUFFER} and may overflow under \
             load; raise the sysctl net.core.rmem_max or grant CAP_NET_ADMIN"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_another_relay_is_refused_however_many_shards_both_have() {
        for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let sockets = bind("127.0.0.1:0".parse().unwrap(), first).unwrap();
            let taken = sockets[0].local_addr().unwrap();
            let error = bind(taken, second).unwrap_err();
            assert!(matches!(error, ListenError::InUse { .. }), "{first} and {second}: {error}");
        }
    }
}
