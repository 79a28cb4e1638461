//! What a frame counts for.
//!
//! Bytes are those of the Ethernet frame from the destination address to the
//! end, without VLAN tags, preamble and checksum. Tags are left out because
//! whether a hook sees them in the frame, beside it or not at all depends on
//! offloads of the network card: without them all hooks agree.

use core::num::NonZeroU64;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Frames on the wire.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the kernel says about a socket buffer.
#[derive(Clone, Copy, Debug)]
pub struct SkbLength {
    /// Bytes in the buffer, the Ethernet header included.
    pub len: u32,
    /// Segments it stands for: 0 or 1 for one frame.
    pub gso_segs: u32,
    /// UDP payload of each segment but the last; 0 for one frame.
    pub gso_size: u32,
}

impl Size {
    /// One frame of `frame_len` bytes, of which `tag_len` are VLAN tags.
    #[inline(always)]
    pub fn of_frame(frame_len: u64, tag_len: u64) -> Self {
        Self { packets: 1, bytes: frame_len.wrapping_sub(tag_len) }
    }

    /// A buffer of many segments stands for as many frames, and each but the
    /// first repeats the headers, which the buffer holds once.
    ///
    /// `header_len` is Ethernet to UDP without tags. The same formula is exact
    /// on both ways: on the way in the kernel's `wire_len` is not.
    #[inline(always)]
    pub fn of_skb(skb: SkbLength, header_len: u64, tag_len: u64) -> Self {
        let bytes = u64::from(skb.len).wrapping_sub(tag_len);
        let packets = match (skb.gso_segs, NonZeroU64::new(u64::from(skb.gso_size))) {
            (0 | 1, None) | (1, Some(_)) => return Self { packets: 1, bytes },
            // A virtual network card may hand over a buffer of many segments
            // without saying how many.
            (0, Some(size)) => {
                let payload = bytes.wrapping_sub(header_len);
                (payload + (size.get() - 1)) / size
            }
            (segments, _) => u64::from(segments),
        };
        let packets = packets.max(1);
        Self { packets, bytes: bytes.wrapping_add((packets - 1).wrapping_mul(header_len)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_count_as_the_frames_they_become() {
        // Three datagrams of 1200, 1200 and 500 bytes over IPv4: 42 bytes of
        // headers each.
        let three = Size { packets: 3, bytes: 2900 + 3 * 42 };
        let one = Size { packets: 1, bytes: 1242 };
        let cases = [
            ("no offload", (1242, 0, 0, 0), one),
            ("one segment", (1242, 1, 0, 0), one),
            ("one segment with a size", (1242, 1, 1200, 0), one),
            ("three segments", (2942, 3, 1200, 0), three),
            ("number untold", (2942, 0, 1200, 0), three),
            ("one tag inside", (2946, 3, 1200, 4), three),
            ("number untold, two tags inside", (2950, 0, 1200, 8), three),
        ];
        for (case, (len, gso_segs, gso_size, tag_len), expected) in cases {
            let size = Size::of_skb(SkbLength { len, gso_segs, gso_size }, 42, tag_len);
            assert_eq!(size, expected, "{case}");
        }
    }
}
