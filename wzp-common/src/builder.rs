//! Frames to feed to the parser, in tests and benchmarks.

extern crate alloc;

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::reason::Reason;

/// A UDP datagram in an Ethernet frame, and what may be odd about it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where the frame comes from.
    pub source: SocketAddr,
    /// Whither; of the same family.
    pub destination: SocketAddr,
    /// Types of VLAN tags, the outer first.
    pub tags: Vec<u16>,
    /// Overrides the type behind the tags.
    pub ether_type: Option<u16>,
    /// IPv4 options, in words of four bytes, at most 10.
    pub option_words: u8,
    /// IPv4 flags and fragment offset.
    pub fragment: u16,
    /// IPv6 extension headers: number, and length in its own unit.
    pub extensions: Vec<(u8, u8)>,
    /// IP protocol.
    pub protocol: u8,
    /// Bytes behind the UDP header.
    pub payload: usize,
}

/// IEEE 802.1Q.
pub const C_TAG: u16 = 0x8100;
/// IEEE 802.1ad.
pub const S_TAG: u16 = 0x88a8;
/// IPv4's flag Don't Fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// IPv4's flag More Fragments.
pub const MORE_FRAGMENTS: u16 = 0x2000;

const UDP: u8 = 17;

impl Frame {
    /// A plain datagram of 100 bytes.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            tags: Vec::new(),
            ether_type: None,
            option_words: 0,
            fragment: DONT_FRAGMENT,
            extensions: Vec::new(),
            protocol: UDP,
            payload: 100,
        }
    }

    /// The same, the other way.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        core::mem::swap(&mut self.source, &mut self.destination);
        self
    }

    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in &self.tags {
            bytes.extend(tag.to_be_bytes());
            bytes.extend([0, 7]);
        }
        let family = match self.source {
            SocketAddr::V4(_) => 0x0800,
            SocketAddr::V6(_) => 0x86dd,
        };
        bytes.extend(self.ether_type.unwrap_or(family).to_be_bytes());
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(&mut bytes, source, destination);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(&mut bytes, source, destination);
            }
            mixed => unreachable!("a datagram between {mixed:?}"),
        }
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(length(8 + self.payload));
        bytes.extend([0, 0]);
        bytes.resize(bytes.len() + self.payload, 0x55);
        bytes
    }

    /// Bytes of the headers, without tags.
    pub fn header_len(&self) -> usize {
        14 + 8
            + match self.source {
                SocketAddr::V4(_) => 20 + 4 * usize::from(self.option_words),
                SocketAddr::V6(_) => {
                    40 + self.extensions.iter().map(|header| extension_len(*header)).sum::<usize>()
                }
            }
    }

    fn ipv4(&self, bytes: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr) {
        let options = 4 * usize::from(self.option_words);
        bytes.extend([0x45 + self.option_words, 0]);
        bytes.extend(length(20 + options + 8 + self.payload));
        bytes.extend([0, 1]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        // No operation.
        bytes.resize(bytes.len() + options, 1);
    }

    fn ipv6(&self, bytes: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) {
        let extensions: usize = self.extensions.iter().map(|header| extension_len(*header)).sum();
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(length(extensions + 8 + self.payload));
        let following = self.extensions.iter().map(|(number, _)| *number).chain([self.protocol]);
        let mut following = following;
        bytes.push(following.next().unwrap_or(self.protocol));
        bytes.push(64);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        for (header, next) in self.extensions.iter().zip(following) {
            let end = bytes.len() + extension_len(*header);
            bytes.extend([next, header.1]);
            bytes.resize(end, 0);
        }
    }
}

/// RFC 8200 section 4.2; RFC 4302 section 2.2 for the authentication header.
fn extension_len((number, length): (u8, u8)) -> usize {
    let unit = if number == 51 { 4 } else { 8 };
    8 + unit * usize::from(length)
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// The relay's port in [`v4`], [`v6`] and [`cases`].
pub const PORT: u16 = 4433;

/// From a peer to the relay.
pub fn v4() -> Frame {
    Frame::new(([192, 0, 2, 7], 4660).into(), ([198, 51, 100, 1], PORT).into())
}

/// The same over IPv6.
pub fn v6() -> Frame {
    let [peer, relay] = [7, 1].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    Frame::new((peer, 4660).into(), (relay, PORT).into())
}

/// Frames and what becomes of them: counted, or why not.
pub fn cases() -> Vec<(&'static str, Frame, Result<(), Reason>)> {
    let with = |mut frame: Frame, change: fn(&mut Frame)| {
        change(&mut frame);
        frame
    };
    let extensions =
        |frame: Frame, extensions: &[(u8, u8)]| Frame { extensions: extensions.to_vec(), ..frame };
    alloc::vec![
        ("IPv4", v4(), Ok(())),
        ("IPv6", v6(), Ok(())),
        ("one tag", with(v4(), |f| f.tags = alloc::vec![C_TAG]), Ok(())),
        ("one tag, IPv6", with(v6(), |f| f.tags = alloc::vec![S_TAG]), Ok(())),
        ("two tags", with(v4(), |f| f.tags = alloc::vec![S_TAG, C_TAG]), Ok(())),
        ("two tags, IPv6", with(v6(), |f| f.tags = alloc::vec![C_TAG, C_TAG]), Ok(())),
        (
            "three tags",
            with(v4(), |f| f.tags = alloc::vec![S_TAG, C_TAG, C_TAG]),
            Err(Reason::VlanDepth)
        ),
        ("one option", with(v4(), |f| f.option_words = 1), Ok(())),
        ("all options", with(v4(), |f| f.option_words = 10), Ok(())),
        (
            "tag and options",
            with(v4(), |f| (f.tags, f.option_words) = (alloc::vec![C_TAG], 3)),
            Ok(())
        ),
        ("may be fragmented", with(v4(), |f| f.fragment = 0), Ok(())),
        ("reserved flag", with(v4(), |f| f.fragment = 0x8000 | DONT_FRAGMENT), Ok(())),
        ("first fragment", with(v4(), |f| f.fragment = MORE_FRAGMENTS), Err(Reason::Fragment)),
        (
            "middle fragment",
            with(v4(), |f| f.fragment = MORE_FRAGMENTS | 185),
            Err(Reason::Fragment),
        ),
        ("last fragment", with(v4(), |f| f.fragment = 1), Err(Reason::Fragment)),
        ("fragment, IPv6", extensions(v6(), &[(44, 0)]), Err(Reason::Fragment)),
        ("hop by hop", extensions(v6(), &[(0, 0)]), Ok(())),
        ("long destination options", extensions(v6(), &[(60, 255)]), Ok(())),
        ("authentication", extensions(v6(), &[(51, 4)]), Ok(())),
        (
            "mobility, host identity, shim6",
            extensions(v6(), &[(135, 1), (139, 0), (140, 2)]),
            Ok(()),
        ),
        (
            "six extension headers",
            extensions(v6(), &[(0, 0), (60, 0), (43, 2), (51, 1), (60, 0), (135, 0)]),
            Ok(()),
        ),
        ("seven extension headers", extensions(v6(), &[(60, 0); 7]), Err(Reason::ExtHeader)),
        (
            "fragment behind six",
            extensions(v6(), &[(60, 0), (60, 0), (60, 0), (60, 0), (60, 0), (60, 0), (44, 0)]),
            Err(Reason::Fragment),
        ),
        ("ESP", extensions(v6(), &[(50, 0)]), Err(Reason::NotUdp)),
        ("no next header", extensions(v6(), &[(59, 0)]), Err(Reason::NotUdp)),
        ("TCP", with(v4(), |f| f.protocol = 6), Err(Reason::NotUdp)),
        ("TCP, IPv6", with(v6(), |f| f.protocol = 6), Err(Reason::NotUdp)),
        (
            "TCP behind an extension header",
            Frame { protocol: 6, ..extensions(v6(), &[(60, 0)]) },
            Err(Reason::NotUdp),
        ),
        ("ARP", with(v4(), |f| f.ether_type = Some(0x0806)), Err(Reason::NotIp)),
        (
            "ARP behind a tag",
            with(v4(), |f| (f.ether_type, f.tags) = (Some(0x0806), alloc::vec![C_TAG])),
            Err(Reason::NotIp),
        ),
        (
            "IPv6 said to be IPv4",
            with(v6(), |f| f.ether_type = Some(0x0800)),
            Err(Reason::BadHeader),
        ),
        (
            "IPv4 said to be IPv6",
            with(v4(), |f| f.ether_type = Some(0x86dd)),
            Err(Reason::BadHeader),
        ),
        ("another port", with(v4(), |f| f.destination.set_port(4434)), Err(Reason::OtherPort)),
        ("another port, IPv6", with(v6(), |f| f.destination.set_port(443)), Err(Reason::OtherPort)),
        (
            "the relay's port at the other end",
            with(v4(), |f| (f.source, f.destination) = (f.destination, f.source)),
            Err(Reason::OtherPort),
        ),
        ("no payload", with(v4(), |f| f.payload = 0), Ok(())),
    ]
}
