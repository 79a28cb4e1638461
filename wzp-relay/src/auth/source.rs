//! Where a participant comes from, as far as the relay can tell people apart: what
//! one of them causes must not cost the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv6 address that one customer's network has in common: providers
/// give households a /56 (RFC 6177 section 2).
const IPV6_PREFIX: u32 = 56;

/// Bits that one site's network has in common, from which somebody may have many
/// addresses: providers give sites a /48 (RFC 6177 section 2), and route no less than a
/// /24 of IPv4.
const IPV6_NETWORK: u32 = 48;
const IPV4_NETWORK: u32 = 24;

/// An IPv4 address, or an IPv6 /56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => prefix(ip, IPV6_PREFIX),
            ip => ip,
        })
    }

    /// The network that it is in, in a source's place: an IPv4 /24, or an IPv6 /48.
    pub(super) fn network(self) -> Self {
        Self(match self.0 {
            IpAddr::V6(ip) => prefix(ip, IPV6_NETWORK),
            IpAddr::V4(ip) => {
                let mask = u32::MAX << (32 - IPV4_NETWORK);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
        })
    }
}

fn prefix(ip: Ipv6Addr, bits: u32) -> IpAddr {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or_default();
    Ipv6Addr::from_bits(ip.to_bits() & mask).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_is_one_source() {
        let cases = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8:0:100::1", "2001:db8:0:1ff:8000::2", true),
            ("2001:db8:0:100::1", "2001:db8:0:200::1", false),
        ];
        for (one, other, same) in cases {
            let of = |text: &str| Source::of(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }

    #[test]
    fn sources_of_a_site_are_one_network() {
        let cases = [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:0:100::1", "2001:db8:0:ff00::1", true),
            ("2001:db8:0:100::1", "2001:db8:1:100::1", false),
        ];
        for (one, other, same) in cases {
            let of = |text: &str| Source::of(text.parse().unwrap()).network();
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }
}
