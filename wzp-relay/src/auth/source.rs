//! Where a participant comes from, as far as the relay can tell people apart: what
//! one of them causes must not cost the others.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that one customer's network has in common: providers
/// give households a /56 (RFC 6177 section 2).
const IPV6_PREFIX: u32 = 56;

/// An IPv4 address, or an IPv6 /56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let mask = u128::MAX << (128 - IPV6_PREFIX);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
            ip => ip,
        })
    }
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
}
