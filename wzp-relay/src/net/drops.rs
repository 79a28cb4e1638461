//! Packets that the kernel dropped because a shard did not read its socket in
//! time. The shards cannot count what they do not get.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Numbers that the kernel has of a socket's memory (linux/sock_diag.h,
/// `SK_MEMINFO_VARS`). /proc/net/udp has them, too, but is as long as there are
/// sockets in the namespace: 150 ms beside 10,000 of them.
const NUMBERS: usize = 9;

/// Which of them are the drops (`SK_MEMINFO_DROPS`).
const DROPS: usize = 8;

/// The sockets to ask about.
#[derive(Clone, Debug)]
pub struct ReceiveDrops {
    sockets: Arc<[OwnedFd]>,
}

impl ReceiveDrops {
    /// Of these sockets.
    pub fn of(sockets: &[UdpSocket]) -> Self {
        let own = |socket: &UdpSocket| socket.try_clone().ok().map(OwnedFd::from);
        Self { sockets: sockets.iter().filter_map(own).collect() }
    }

    /// Packets dropped so far. `None`: the system does not tell.
    pub fn total(&self) -> Option<u64> {
        self.sockets.iter().map(|socket| drops(socket).ok()).reduce(|a, b| Some(a? + b?))?
    }
}

fn drops(socket: &OwnedFd) -> io::Result<u64> {
    let mut numbers = [0u32; NUMBERS];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel
    // writes at most `length` bytes, which are those of `numbers`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(numbers[DROPS].into()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    #[test]
    fn what_a_full_socket_does_not_take_is_counted() {
        const SENT: u64 = 2000;
        let anywhere: [SocketAddr; 2] =
            [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
        for address in anywhere {
            let Ok(receiver) = UdpSocket::bind(address) else { continue };
            let other = UdpSocket::bind(address).unwrap();
            let drops = ReceiveDrops::of(std::slice::from_ref(&receiver));
            assert_eq!(drops.total(), Some(0));
            socket2::SockRef::from(&receiver).set_recv_buffer_size(4096).unwrap();
            for _ in 0..SENT {
                other.send_to(&[0; 100], receiver.local_addr().unwrap()).unwrap();
            }
            receiver.set_nonblocking(true).unwrap();
            let received = std::iter::from_fn(|| receiver.recv(&mut [0; 200]).ok()).count() as u64;
            assert!(received < SENT);
            assert_eq!(drops.total(), Some(SENT - received));
            assert_eq!(ReceiveDrops::of(&[other]).total(), Some(0), "another's are not ours");
        }
    }

    #[test]
    fn no_socket_no_number() {
        assert_eq!(ReceiveDrops::of(&[]).total(), None);
    }
}
