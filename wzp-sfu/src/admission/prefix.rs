//! Whom an address belongs to: one subscriber, one site, one network.

use std::net::IpAddr;

/// How much of an address is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Tier {
    /// One subscriber: an IPv4 address, or the /64 that an IPv6 host has to itself.
    Address,
    /// A household or a branch: an IPv6 /56. IPv4 has nothing of the kind.
    Site,
    /// What one owner is likely to have: an IPv6 /48, an IPv4 /24.
    Network,
}

/// The addresses that are the same but for their last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Prefix {
    pub(super) tier: Tier,
    bits: u128,
}

/// What an address is part of, from the narrowest to the widest.
pub(super) type Prefixes = [Option<Prefix>; 3];

/// What an address is part of.
pub(super) fn prefixes_of(ip: IpAddr) -> Prefixes {
    let masked = |bits: u128, length: u32| bits >> (128 - length) << (128 - length);
    let of = |tier, bits, length| Some(Prefix { tier, bits: masked(bits, length) });
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let bits = v4.to_ipv6_mapped().to_bits();
            [of(Tier::Address, bits, 128), None, of(Tier::Network, bits, 96 + 24)]
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            [of(Tier::Address, bits, 64), of(Tier::Site, bits, 56), of(Tier::Network, bits, 48)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_share_what_their_first_bits_say() {
        // Whether two addresses are of one subscriber, site, network.
        for (one, other, same) in [
            ("10.0.0.1", "::ffff:10.0.0.1", [true, true, true]),
            ("10.0.0.1", "10.0.0.2", [false, true, true]),
            ("10.0.0.1", "10.0.1.1", [false, true, false]),
            ("2001:db8::1", "2001:db8::ffff:2", [true, true, true]),
            ("2001:db8::1", "2001:db8:0:1::1", [false, true, true]),
            ("2001:db8::1", "2001:db8:0:100::1", [false, false, true]),
            ("2001:db8::1", "2001:db8:1::1", [false, false, false]),
        ] {
            let [one_of, other_of] = [one, other].map(|ip| prefixes_of(ip.parse().unwrap()));
            let equal = [0, 1, 2].map(|tier| one_of[tier] == other_of[tier]);
            assert_eq!(equal, same, "{one} and {other}");
        }
    }
}
