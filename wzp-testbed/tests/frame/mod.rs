//! Frames as a talker sends them, with nothing to hear in them.

use wzp_proto::media::{AudioLevel, MediaHeader, Profile};

/// A media datagram of `length` bytes, its header included.
pub(crate) fn frame(sender_id: u16, sequence: u32, length: usize) -> Vec<u8> {
    let header = MediaHeader {
        profile: Profile::Good,
        level: AudioLevel::new(30, true),
        sender_id,
        sequence,
        timestamp: sequence.wrapping_mul(Profile::Good.frame_ticks()),
    };
    let mut frame = header.encode().to_vec();
    frame.resize(length, 0x5a);
    frame
}
