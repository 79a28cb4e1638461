//! What a flow is called and where its counters are. Both lie in memory that
//! the kernel and the relay share: the layouts are asserted.

use core::net::{IpAddr, SocketAddr};

/// The most flows that a relay can count at a time.
pub const MAX_CAPACITY: u32 = 100_000;

/// The slot of frames that carry the relay's port and belong to no known flow.
pub const UNATTRIBUTED: u32 = 0;

/// A flow: the remote address and port, and the relay's port. All fields are
/// as they lie in the frame, in network order; u16 because an IP header behind
/// an Ethernet header is aligned to two bytes and no more.
///
/// There is no padding: the kernel hashes all 24 bytes, and the verifier would
/// accept uninitialised ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// An IPv6 address, or an IPv4 address mapped into one (RFC 4291 section
    /// 2.5.5.2).
    pub remote_ip: [u16; 8],
    /// The remote UDP port.
    pub remote_port: u16,
    /// The relay's UDP port.
    pub local_port: u16,
    /// Zero. The key's length is a multiple of eight: the kernel hashes words.
    pub zero: [u16; 2],
}

const _: () = assert!(size_of::<FlowKey>() == 24);
const _: () = assert!(align_of::<FlowKey>() == 2);
const _: () = assert!(size_of::<FlowKey>() == size_of::<[u16; 12]>());

impl FlowKey {
    /// The key of frames between `remote` and a UDP port of the relay. An IPv4
    /// address and the same one mapped into IPv6 give the same key.
    pub fn new(remote: SocketAddr, local_port: u16) -> Self {
        Self {
            remote_ip: mapped(remote.ip()),
            remote_port: remote.port().to_be(),
            local_port: local_port.to_be(),
            zero: [0; 2],
        }
    }

    /// The key's bytes, eight to a word. The kernel programs carry keys so and
    /// write them to memory in three pieces, not twelve: the processor can hand
    /// those to the hash function's reads without waiting for the cache, which
    /// makes 11 ns of 33.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 3] {
        let [a, b, c, d, e, f, g, h] = self.remote_ip;
        let [i, j] = self.zero;
        [word([a, b, c, d]), word([e, f, g, h]), word([self.remote_port, self.local_port, i, j])]
    }

    /// The remote address; an IPv4 address as such.
    pub fn remote(&self) -> SocketAddr {
        let ip = core::net::Ipv6Addr::from(self.remote_ip.map(u16::from_be)).to_canonical();
        SocketAddr::new(ip, u16::from_be(self.remote_port))
    }
}

/// Four pieces of memory as one.
#[inline(always)]
const fn word([a, b, c, d]: [u16; 4]) -> u64 {
    let [a, b, c, d] = [a.to_le() as u64, b.to_le() as u64, c.to_le() as u64, d.to_le() as u64];
    (a | b << 16 | c << 32 | d << 48).to_le()
}

/// An address as keys and the blocklist hold it: IPv6 or mapped into IPv6, in
/// network order.
pub fn mapped(ip: IpAddr) -> [u16; 8] {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    v6.segments().map(u16::to_be)
}

/// The counters of a flow, each monotonic for the life of the map: the relay
/// only reads them, and counts from where they were when a flow took the slot.
///
/// Received and sent counters are in different cache lines: the two programs
/// run on different processors as a rule.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSlot {
    /// Frames from the peer.
    pub rx_packets: u64,
    /// Their bytes, counted as [`crate::size`] says.
    pub rx_bytes: u64,
    /// To the end of the cache line.
    pub rx_rest: [u64; 6],
    /// Frames to the peer.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// To the end of the cache line.
    pub tx_rest: [u64; 6],
}

const _: () = assert!(size_of::<FlowSlot>() == 128);
const _: () = assert!(core::mem::offset_of!(FlowSlot, rx_packets) == 0);
const _: () = assert!(core::mem::offset_of!(FlowSlot, rx_bytes) == 8);
const _: () = assert!(core::mem::offset_of!(FlowSlot, tx_packets) == 64);
const _: () = assert!(core::mem::offset_of!(FlowSlot, tx_bytes) == 72);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_in_memory_as_on_the_wire() {
        let key = FlowKey::new("192.0.2.7:4660".parse().unwrap(), 4433);
        assert_eq!(
            key.remote_ip.map(u16::to_ne_bytes).as_flattened()[10..],
            [0xff, 0xff, 192, 0, 2, 7]
        );
        assert_eq!(key.remote_port.to_ne_bytes(), [0x12, 0x34]);
        assert_eq!(key.local_port.to_ne_bytes(), [0x11, 0x51]);
    }

    #[test]
    fn words_are_the_bytes_of_the_key() {
        let key = FlowKey::new("[2001:db8:1:2:3:4:5:6]:4660".parse().unwrap(), 4433);
        let ends = [key.remote_port, key.local_port, 0, 0];
        let fields = key.remote_ip.into_iter().chain(ends);
        let bytes = fields.flat_map(u16::to_ne_bytes);
        assert!(bytes.eq(key.to_words().into_iter().flat_map(u64::to_ne_bytes)));
    }

    #[test]
    fn mapped_and_plain_addresses_are_one_flow() {
        let plain = FlowKey::new("192.0.2.7:4660".parse().unwrap(), 4433);
        let mapped = FlowKey::new("[::ffff:192.0.2.7]:4660".parse().unwrap(), 4433);
        assert_eq!(plain, mapped);
        assert_eq!(mapped.remote(), "192.0.2.7:4660".parse().unwrap());
        let v6: SocketAddr = "[2001:db8::1]:1".parse().unwrap();
        assert_eq!(FlowKey::new(v6, 4433).remote(), v6);
    }
}
