//! From an Ethernet frame to the flow it belongs to.
//!
//! The parser looks at nothing behind the UDP header, does not verify
//! checksums and believes no length field: what it counts is what crossed the
//! hook. It stops as soon as a frame is known not to be the relay's; the
//! addresses are the last thing it reads.

use crate::flow::FlowKey;
use crate::reason::{Direction, Reason};

/// VLAN tags that are looked behind: an 802.1ad tag and an 802.1Q tag.
pub const MAX_VLAN_TAGS: usize = 2;

/// IPv6 extension headers that are looked behind. RFC 8200 section 4.1 lists
/// seven, of which two end the search: Fragment and ESP.
pub const MAX_EXTENSION_HEADERS: usize = 6;

/// Where a frame's bytes come from: memory whose end the verifier knows in the
/// kernel, a slice elsewhere.
pub trait Cursor {
    /// `N` words from `offset`, in bytes, each as it lies in memory. `None` if
    /// the frame ends before.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u16; N]>;
}

impl Cursor for [u8] {
    fn words<const N: usize>(&self, offset: usize) -> Option<[u16; N]> {
        let bytes = self.get(offset..offset.checked_add(2 * N)?)?;
        let (pairs, _) = bytes.as_chunks::<2>();
        let mut words = [0; N];
        for (word, pair) in words.iter_mut().zip(pairs) {
            *word = u16::from_ne_bytes(*pair);
        }
        Some(words)
    }
}

/// A UDP datagram to or from the relay's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its flow: the bytes of a [`FlowKey`] in three registers.
    pub key: [u64; 3],
    /// Bytes of all headers, Ethernet to UDP, without VLAN tags.
    pub header_len: u64,
    /// Bytes of VLAN tags.
    pub tag_len: u64,
}

/// Finds the flow of a frame that crosses a hook in this direction. `port` is
/// the relay's UDP port in network order.
///
/// # Errors
/// The frame is not the relay's, or one cannot tell.
#[inline(always)]
pub fn parse<C: Cursor + ?Sized>(
    frame: &C,
    direction: Direction,
    port: u16,
) -> Result<Datagram, Reason> {
    look::<C, C, true, true>(frame, frame, direction, port)
}

/// The same for plain frames, those without VLAN tags, IPv4 options and IPv6
/// extension headers, and [`Reason::Short`] for all others, which [`parse`]
/// has to look at.
///
/// Here all offsets are constants: a program without CAP_PERFMON may add
/// nothing else to a pointer into a frame.
///
/// # Errors
/// The frame is not the relay's, or one cannot tell.
#[inline(always)]
pub fn parse_plain<C: Cursor + ?Sized>(
    frame: &C,
    direction: Direction,
    port: u16,
) -> Result<Datagram, Reason> {
    look::<C, C, false, false>(frame, frame, direction, port)
}

/// The same for frames that have one VLAN tag and are plain otherwise.
///
/// # Errors
/// The frame is not the relay's, or one cannot tell.
#[inline(always)]
pub fn parse_tagged<C: Cursor + ?Sized>(
    frame: &C,
    direction: Direction,
    port: u16,
) -> Result<Datagram, Reason> {
    let [ether_type] = frame.words(ETHERNET_TYPE).ok_or(Reason::Short)?;
    if !is_tag(ether_type) {
        return Err(Reason::Short);
    }
    let datagram = parse_plain(&BehindTag(frame), direction, port)?;
    Ok(Datagram { tag_len: VLAN_TAG_LEN as u64, ..datagram })
}

/// The same for frames without tags, whatever their options and extension
/// headers. What is at a constant offset is read from `near`, what is behind
/// headers of no fixed length from `far`.
///
/// # Errors
/// The frame is not the relay's, or one cannot tell.
#[inline(always)]
pub fn parse_untagged<N: Cursor + ?Sized, F: Cursor + ?Sized>(
    near: &N,
    far: &F,
    direction: Direction,
    port: u16,
) -> Result<Datagram, Reason> {
    look::<N, F, false, true>(near, far, direction, port)
}

/// A frame without its first VLAN tag, if one does not look at its addresses.
struct BehindTag<'a, C: ?Sized>(&'a C);

impl<C: Cursor + ?Sized> Cursor for BehindTag<'_, C> {
    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u16; N]> {
        self.0.words(VLAN_TAG_LEN + offset)
    }
}

/// `TAGS` and `OPTIONS` are whether VLAN tags and headers of no fixed length are
/// looked behind.
#[inline(always)]
fn look<N: Cursor + ?Sized, F: Cursor + ?Sized, const TAGS: bool, const OPTIONS: bool>(
    near: &N,
    far: &F,
    direction: Direction,
    port: u16,
) -> Result<Datagram, Reason> {
    let (ether_type, tag_len) = ether_type::<N, TAGS>(near)?;
    let ip = ETHERNET_LEN + tag_len;
    // Not a match: that may become a jump table, which the kernel has not.
    if ether_type == ETHERTYPE_IPV4 {
        let udp = ipv4::<N, OPTIONS>(near, ip)?;
        let remote_port = remote_port(far, udp, direction, port)?;
        let address = match direction {
            Direction::Rx => ip + IPV4_SOURCE,
            Direction::Tx => ip + IPV4_DESTINATION,
        };
        let [high, low] = near.words(address).ok_or(Reason::Short)?;
        let remote_ip = [0, 0, 0, 0, 0, 0xffff, high, low];
        Ok(datagram(remote_ip, remote_port, port, udp, tag_len))
    } else if ether_type == ETHERTYPE_IPV6 {
        let udp = ipv6::<N, F, OPTIONS>(near, far, ip)?;
        let remote_port = remote_port(far, udp, direction, port)?;
        let address = match direction {
            Direction::Rx => ip + IPV6_SOURCE,
            Direction::Tx => ip + IPV6_DESTINATION,
        };
        let remote_ip = near.words(address).ok_or(Reason::Short)?;
        Ok(datagram(remote_ip, remote_port, port, udp, tag_len))
    } else {
        Err(Reason::NotIp)
    }
}

/// Destination, source, type.
const ETHERNET_LEN: usize = 14;
const ETHERNET_TYPE: usize = 12;
/// Tag control information, and the type that it stands before.
const VLAN_TAG_LEN: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
/// IEEE 802.1Q.
const ETHERTYPE_C_TAG: u16 = 0x8100u16.to_be();
/// IEEE 802.1ad.
const ETHERTYPE_S_TAG: u16 = 0x88a8u16.to_be();

const UDP: u8 = 17;
const UDP_LEN: usize = 8;

const IPV4_MIN_LEN: usize = 20;
const IPV4_SOURCE: usize = 12;
const IPV4_DESTINATION: usize = 16;
/// More fragments, and the fragment's offset; the bit before is Don't Fragment
/// (RFC 791 section 3.1).
const IPV4_FRAGMENT: u16 = 0x3fffu16.to_be();

const IPV6_LEN: usize = 40;
const IPV6_SOURCE: usize = 8;
const IPV6_DESTINATION: usize = 24;

/// The numbers of IPv6 extension headers (IANA, "IPv6 Extension Header Types").
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HOST_IDENTITY: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// The type behind the VLAN tags, and the tags' length.
#[inline(always)]
fn ether_type<C: Cursor + ?Sized, const TAGS: bool>(frame: &C) -> Result<(u16, usize), Reason> {
    let mut tag_len = 0;
    // One more than there may be tags: the last turn finds a type or gives up.
    for _ in 0..MAX_VLAN_TAGS + 1 {
        let [ether_type] = frame.words(ETHERNET_TYPE + tag_len).ok_or(Reason::Short)?;
        if !is_tag(ether_type) {
            return Ok((ether_type, tag_len));
        }
        if !TAGS {
            return Err(Reason::Short);
        }
        tag_len += VLAN_TAG_LEN;
    }
    Err(Reason::VlanDepth)
}

#[inline(always)]
fn is_tag(ether_type: u16) -> bool {
    ether_type == ETHERTYPE_C_TAG || ether_type == ETHERTYPE_S_TAG
}

/// Where the UDP header of the IPv4 packet at `ip` is.
#[inline(always)]
fn ipv4<C: Cursor + ?Sized, const OPTIONS: bool>(frame: &C, ip: usize) -> Result<usize, Reason> {
    let header: [u16; IPV4_MIN_LEN / 2] = frame.words(ip).ok_or(Reason::Short)?;
    let [version_and_length, _] = header[0].to_ne_bytes();
    let [_, protocol] = header[4].to_ne_bytes();
    let length = usize::from(version_and_length & 0xf) * 4;
    if version_and_length >> 4 != 4 || length < IPV4_MIN_LEN {
        return Err(Reason::BadHeader);
    }
    if protocol != UDP {
        return Err(Reason::NotUdp);
    }
    if header[3] & IPV4_FRAGMENT != 0 {
        return Err(Reason::Fragment);
    }
    if !OPTIONS && length != IPV4_MIN_LEN {
        return Err(Reason::Short);
    }
    Ok(ip + if OPTIONS { length } else { IPV4_MIN_LEN })
}

/// Where the UDP header of the IPv6 packet at `ip` is.
#[inline(always)]
fn ipv6<N: Cursor + ?Sized, F: Cursor + ?Sized, const OPTIONS: bool>(
    near: &N,
    far: &F,
    ip: usize,
) -> Result<usize, Reason> {
    let header: [u16; IPV6_LEN / 2] = near.words(ip).ok_or(Reason::Short)?;
    let [version, _] = header[0].to_ne_bytes();
    if version >> 4 != 6 {
        return Err(Reason::BadHeader);
    }
    let [mut next, _] = header[3].to_ne_bytes();
    let mut offset = ip + IPV6_LEN;
    // One more than there may be, as with tags.
    for _ in 0..MAX_EXTENSION_HEADERS + 1 {
        if next == UDP {
            return Ok(offset);
        }
        if next == extension::FRAGMENT {
            return Err(Reason::Fragment);
        }
        if !is_extension(next) {
            return Err(Reason::NotUdp);
        }
        if !OPTIONS {
            return Err(Reason::Short);
        }
        let [start] = far.words(offset).ok_or(Reason::Short)?;
        let [following, length] = start.to_ne_bytes();
        // RFC 8200 section 4: lengths are in units of eight bytes and leave
        // out the first eight. RFC 4302 section 2.2: that of the authentication
        // header is in units of four and leaves out as many.
        let unit = if next == extension::AUTHENTICATION { 4 } else { 8 };
        offset += 8 + usize::from(length) * unit;
        next = following;
    }
    Err(Reason::ExtHeader)
}

#[inline(always)]
fn is_extension(number: u8) -> bool {
    number == extension::HOP_BY_HOP
        || number == extension::ROUTING
        || number == extension::AUTHENTICATION
        || number == extension::DESTINATION
        || number == extension::MOBILITY
        || number == extension::HOST_IDENTITY
        || number == extension::SHIM6
}

/// The port of the remote side, if the other is the relay's.
#[inline(always)]
fn remote_port<C: Cursor + ?Sized>(
    frame: &C,
    udp: usize,
    direction: Direction,
    port: u16,
) -> Result<u16, Reason> {
    let [source, destination, _, _]: [u16; UDP_LEN / 2] = frame.words(udp).ok_or(Reason::Short)?;
    let (remote, local) = match direction {
        Direction::Rx => (source, destination),
        Direction::Tx => (destination, source),
    };
    if local == port { Ok(remote) } else { Err(Reason::OtherPort) }
}

#[inline(always)]
fn datagram(
    remote_ip: [u16; 8],
    remote_port: u16,
    local_port: u16,
    udp: usize,
    tag_len: usize,
) -> Datagram {
    Datagram {
        key: FlowKey { remote_ip, remote_port, local_port, zero: [0; 2] }.to_words(),
        header_len: (udp + UDP_LEN - tag_len) as u64,
        tag_len: tag_len as u64,
    }
}
