//! What the network says about a packet that could not be delivered: an ICMP
//! message that the port is closed or the host not there (RFC 1122 section
//! 4.1.3.3). A QUIC socket is not connected, so the kernel keeps such news to
//! itself unless it is asked.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use tokio::io::Interest;

/// Errors that do not go away while one waits. Others, such as a packet too long for
/// the path, are none of a connection's business.
const FINAL: [Errno; 5] =
    [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EACCES, Errno::EHOSTDOWN];

/// Room for what the kernel says about a packet: the error, and what QUIC has it tell
/// about every packet (RFC 3542: the interface, the traffic class).
const CONTROL_BYTES: usize = 512;

/// Watches a socket while a connection is made. Only then: later such a message may be
/// of a network that is away for a moment, or of somebody who would end a call.
pub(crate) struct Watch {
    /// The same socket, of which nothing is read but its errors.
    socket: tokio::net::UdpSocket,
    v6: bool,
}

impl Watch {
    /// For a socket that sends to that address alone.
    pub(crate) fn new(socket: &UdpSocket, address: SocketAddr) -> io::Result<Self> {
        // What no route leads to is told by nobody later: sending fails, and QUIC tries
        // again.
        UdpSocket::bind((unspecified(address).ip(), 0))?.connect(address)?;
        let socket = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
        let watch = Self { socket, v6: address.is_ipv6() };
        watch.ask(true)?;
        Ok(watch)
    }

    fn ask(&self, on: bool) -> io::Result<()> {
        match self.v6 {
            true => setsockopt(&self.socket, Ipv6RecvErr, &on)?,
            false => setsockopt(&self.socket, Ipv4RecvErr, &on)?,
        }
        Ok(())
    }

    /// Returns when the network has said that the address cannot be reached.
    pub(crate) async fn told(&self) -> io::Error {
        loop {
            if let Err(error) = self.socket.ready(Interest::ERROR).await {
                return error;
            }
            let told = self.socket.try_io(Interest::ERROR, || Ok(next(&self.socket)?));
            if let Ok(error) = told
                && FINAL.contains(&error)
            {
                return error.into();
            }
        }
    }
}

impl Drop for Watch {
    /// Also empties the queue, which would fill the socket's receive buffer.
    fn drop(&mut self) {
        let _ = self.ask(false);
    }
}

/// Any address of the same family.
pub(crate) fn unspecified(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Takes the next error from the socket's queue.
fn next(socket: &tokio::net::UdpSocket) -> Result<Errno, Errno> {
    let mut packet = [0; 64];
    let mut packet = [IoSliceMut::new(&mut packet)];
    let mut space = nix::cmsg_space!([u8; CONTROL_BYTES]);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut packet,
        Some(&mut space),
        MsgFlags::MSG_ERRQUEUE,
    )?;
    let number = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            i32::try_from(error.ee_errno).ok()
        }
        _ => None,
    });
    Ok(number.map_or(Errno::UnknownErrno, Errno::from_raw))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_told_at_once_and_an_open_one_is_not() {
        for host in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let other = UdpSocket::bind((host, 0)).unwrap();
            let address = other.local_addr().unwrap();
            let socket = UdpSocket::bind(unspecified(address)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let watch = Watch::new(&socket, address).unwrap();
            socket.send_to(b"hello", address).unwrap();
            let silence = tokio::time::timeout(Duration::from_millis(100), watch.told()).await;
            assert!(silence.is_err(), "{silence:?}");

            drop(other);
            socket.send_to(b"hello", address).unwrap();
            let told = tokio::time::timeout(Duration::from_secs(20), watch.told()).await.unwrap();
            assert_eq!(told.kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[tokio::test]
    async fn an_address_that_nothing_can_be_sent_to_is_known_before() {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        assert!(Watch::new(&socket, "255.255.255.255:1".parse().unwrap()).is_err());
    }
}
