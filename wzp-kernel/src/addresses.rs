//! The addresses that this host has, and which interface has each. Asked of the kernel
//! itself: the C library tells an IPv4 address's label in the interface's place, which
//! whoever gave the address has chosen ("eth0:1").

use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;

use rustix::net::netdevice::index_to_name;

use crate::netlink::{self, Extent, Family, find, u32_at};

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The number of the interface that has it.
    pub interface: u32,
    /// The address itself.
    pub ip: IpAddr,
}

/// All addresses, those of the oldest interface first.
///
/// # Errors
/// The kernel does not tell.
pub fn addresses() -> io::Result<Vec<Address>> {
    const GET_ADDRESS: u16 = 22;
    let answers = netlink::ask(Family::Route, GET_ADDRESS, Extent::All, &[0; HEADER])?;
    let mut found: Vec<_> = answers.iter().filter_map(|answer| address(answer)).collect();
    found.sort_by_key(|address| address.interface);
    Ok(found)
}

/// `struct ifaddrmsg` (linux/if_addr.h): a byte each of family, prefix, flags and scope,
/// and the interface's number.
const HEADER: usize = 8;

fn address(answer: &[u8]) -> Option<Address> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let attributes = answer.get(HEADER..)?;
    // Where there are both, the first is that of a tunnel's other end.
    let bytes = find(attributes, LOCAL).or_else(|| find(attributes, ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    Some(Address { interface: u32_at(answer, 4)?, ip: v4.or_else(v6)? })
}

/// The interfaces that carry the address, the oldest first; all but loopback for `[::]`.
pub fn carrying(ip: IpAddr) -> Vec<String> {
    // What comes to [::ffff:10.0.0.1] comes to 10.0.0.1.
    let ip = ip.to_canonical();
    let carries = |own: IpAddr| match ip.is_unspecified() {
        false => own == ip,
        // [::] is for IPv4, too.
        true => !own.is_loopback() && (own.is_ipv4() || ip.is_ipv6()),
    };
    let (Ok(addresses), Ok(socket)) = (addresses(), UnixDatagram::unbound()) else {
        return Vec::new();
    };
    let found = addresses.iter().filter(|address| carries(address.ip));
    let mut numbers: Vec<_> = found.map(|address| address.interface).collect();
    numbers.dedup();
    numbers.into_iter().filter_map(|number| index_to_name(&socket, number).ok()).collect()
}

#[cfg(test)]
mod tests {
    use wzp_testbed::netns::{Namespace, cable};
    use wzp_testbed::skip;

    use super::*;

    #[test]
    fn interfaces_are_found_whatever_their_addresses_are_called() {
        if !skip::have_namespaces("interfaces_are_found_whatever_their_addresses_are_called") {
            return;
        }
        let [host, other] = ["host", "other"].map(|name| Namespace::new(name).unwrap());
        cable([&host, &other], "eth0", 1).unwrap();
        cable([&host, &other], "eth1", 2).unwrap();
        for command in [
            "address add 10.0.0.1/24 dev eth0 label eth0:1",
            "address add 10.0.0.2/24 dev eth1 label eth1:clients",
            "address add 10.0.0.3 peer 10.0.0.4 dev eth1",
            "address add fd00::1/64 dev eth1 nodad",
            "link add eth2 type bridge",
            "link set eth2 up",
            "address add fd00::2/64 dev eth2 nodad",
        ] {
            host.ip(&command.split(' ').collect::<Vec<_>>()).unwrap();
        }
        let cases = [
            ("10.0.0.1", &["eth0"][..]),
            ("::ffff:10.0.0.1", &["eth0"]),
            ("10.0.0.2", &["eth1"]),
            ("10.0.0.3", &["eth1"]),
            ("10.0.0.4", &[]),
            ("fd00::1", &["eth1"]),
            ("127.0.0.1", &["lo"]),
            ("::1", &["lo"]),
            ("192.0.2.1", &[]),
            ("0.0.0.0", &["eth0", "eth1"]),
            ("::ffff:0.0.0.0", &["eth0", "eth1"]),
            ("::", &["eth0", "eth1", "eth2"]),
        ];
        for (ip, expected) in cases {
            let found = host.run(|| carrying(ip.parse().unwrap()));
            assert_eq!(found, expected, "{ip}");
        }
    }

    #[test]
    fn answers_that_are_odd_have_no_address() {
        for odd in [&[][..], &[0; 8], &[255; 24], &[0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 2, 0, 1, 2, 3]] {
            assert_eq!(address(odd), None, "{odd:?}");
        }
    }
}
