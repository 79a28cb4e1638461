//! Where packets come from and go to.

use std::net::{IpAddr, SocketAddr};

/// The way between a peer and this relay, by which packets come and go. A way that is not
/// UDP gets a form of its own here, and nothing above has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The peer, as its socket names it.
    pub remote: SocketAddr,
    /// Which of this host's addresses, if known or if it matters.
    pub local: Option<IpAddr>,
}

/// The address as people write it: a socket for both families gives IPv4 peers as
/// `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), and everybody else knows them as
/// `a.b.c.d`. Not for sending: the socket wants its own form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            // With its zone, if it has one.
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_lose_their_prefix_and_others_nothing() {
        for (given, written) in [
            ("[::ffff:192.0.2.7]:4433", "192.0.2.7:4433"),
            ("192.0.2.7:4433", "192.0.2.7:4433"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
            ("[fe80::1%3]:1", "[fe80::1%3]:1"),
            // Translation, not mapping: another host.
            ("[64:ff9b::c000:207]:1", "[64:ff9b::c000:207]:1"),
            ("[::192.0.2.7]:1", "[::c000:207]:1"),
        ] {
            assert_eq!(canonical(given.parse().unwrap()).to_string(), written, "{given}");
        }
    }
}
