//! Packets that the kernel dropped because a shard did not read its socket in
//! time. The shards cannot count what they do not get.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// The kernel's tables of UDP sockets, one per version of IP.
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];

/// Which rows of the tables are the relay's.
#[derive(Clone, Debug)]
pub struct ReceiveDrops {
    /// The sockets' inodes, which name them there.
    sockets: Arc<[u64]>,
}

impl ReceiveDrops {
    /// Of these sockets, for as long as they are open.
    pub fn of(sockets: &[UdpSocket]) -> Self {
        let inode = |socket: &UdpSocket| {
            let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
            fs::metadata(link).ok().map(|metadata| metadata.ino())
        };
        Self { sockets: sockets.iter().filter_map(inode).collect() }
    }

    /// Packets dropped so far. `None`: the system does not tell.
    pub fn total(&self) -> Option<u64> {
        if self.sockets.is_empty() {
            return None;
        }
        let tables = TABLES.map(|path| fs::read_to_string(path).ok());
        tables.into_iter().flatten().map(|table| self.sum(&table)).reduce(|a, b| a + b)
    }

    fn sum(&self, table: &str) -> u64 {
        let rows = table.lines().skip(1).filter_map(row);
        rows.filter(|(inode, _)| self.sockets.contains(inode)).map(|(_, drops)| drops).sum()
    }
}

/// Inode and drops of one socket (Linux, net/ipv4/udp.c, `udp4_format_sock`).
fn row(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let inode = fields.nth(9)?.parse().ok()?;
    Some((inode, fields.last()?.parse().ok()?))
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
