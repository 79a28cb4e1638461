//! Sockets and threads around the shards: everything that a shard, being a
//! state machine, must not do itself.

pub mod drops;
pub mod mailbox;
pub mod run;
mod send;
pub mod socket;
pub mod steering;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// What to listen on instead of `[::]` on a host without IPv6.
pub(crate) fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let any = address.is_ipv6() && address.ip().is_unspecified();
    (any && error.raw_os_error() == Some(libc::EAFNOSUPPORT))
        .then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}
