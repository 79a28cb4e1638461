//! From a QUIC packet to the shard it belongs to.
//!
//! The first byte of the destination connection id is congruent to the shard's
//! number modulo the number of shards: in packets of an established connection
//! because the relay chose the id, in a client's first packets because the
//! connection goes where its random id points.

use core::num::NonZeroU32;

/// The most shards that a byte can tell apart.
pub const MAX_SHARDS: u32 = 256;

/// Set in the first byte of packets with a long header (RFC 8999 section 5.1).
pub const LONG_HEADER: u8 = 0x80;

/// Where the id begins in a long header: behind the first byte, the version
/// and the id's length.
pub const LONG_HEADER_ID: u32 = 6;

/// Where it begins in a short header (RFC 8999 section 5.2).
pub const SHORT_HEADER_ID: u32 = 1;

/// The shard that a packet belongs to. `byte` gives the byte at an offset into
/// the UDP payload, `None` behind its end; it is asked twice at most. The
/// result is `None` if the packet ends before its id.
#[inline(always)]
pub fn shard_of(byte: impl Fn(u32) -> Option<u8>, shards: NonZeroU32) -> Option<u32> {
    let id = if byte(0)? & LONG_HEADER == 0 { SHORT_HEADER_ID } else { LONG_HEADER_ID };
    Some(u32::from(byte(id)?) % shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(packet: &[u8], shards: u32) -> Option<u32> {
        let byte = |offset: u32| packet.get(offset as usize).copied();
        shard_of(byte, NonZeroU32::new(shards)?)
    }

    #[test]
    fn the_first_byte_of_the_id_names_the_shard() {
        let cases: [(&str, &[u8], u32, Option<u32>); 10] = [
            ("short header", &[0x40, 7, 9, 9], 3, Some(1)),
            ("short header, nothing but the byte", &[0x40, 7], 3, Some(1)),
            ("short header that ends", &[0x40], 3, None),
            ("all bits but the form", &[0x7f, 255], 256, Some(255)),
            ("long header", &[0xc0, 0, 0, 0, 1, 8, 11, 0], 4, Some(3)),
            ("long header, nothing but the byte", &[0xc0, 0, 0, 0, 1, 8, 11], 4, Some(3)),
            ("long header that ends", &[0xc0, 0, 0, 0, 1, 0], 4, None),
            ("any version", &[0x80, 9, 9, 9, 9, 20, 200], 7, Some(4)),
            ("one shard", &[0x40, 255], 1, Some(0)),
            ("nothing", &[], 2, None),
        ];
        for (case, packet, shards, expected) in cases {
            assert_eq!(shard(packet, shards), expected, "{case}");
        }
    }

    #[test]
    fn every_shard_can_be_named() {
        for shards in 1..=MAX_SHARDS {
            for wanted in 0..shards {
                assert_eq!(shard(&[0x40, wanted as u8], shards), Some(wanted));
            }
        }
    }
}
