//! The frames of a load: a media header, and a payload that says when it was
//! sent, by which run of this program and by which talker of the room.
//!
//! ```text
//! 0-7    when it was sent, nanoseconds on the clock of the run
//! 8-11   the run
//! 12-15  the talker: which member of the room it is
//! 16-    filling
//! ```

use bytes::{Bytes, BytesMut};
use wzp_proto::media::{AudioLevel, CLOCK_HZ, HEADER_LEN, MediaHeader, Profile};

/// What the payload takes at least.
pub(crate) const MIN_PAYLOAD: usize = 16;

/// As loud as speech is.
const LEVEL: AudioLevel = AudioLevel::new(30, true);

/// Frames are cut out of blocks of this size: one allocation for many.
const BLOCK: usize = 64 * 1024;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) sender_id: u16,
    pub(crate) sequence: u32,
    pub(crate) sent: u64,
    pub(crate) run: u32,
    pub(crate) member: u32,
}

impl Frame {
    /// What a datagram says; `None` if no load sent it.
    pub(crate) fn decode(datagram: &[u8]) -> Option<Self> {
        let (header, payload) = MediaHeader::decode(datagram).ok()?;
        let (sent, rest) = payload.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (member, _) = rest.split_first_chunk()?;
        Some(Self {
            sender_id: header.sender_id,
            sequence: header.sequence,
            sent: u64::from_be_bytes(*sent),
            run: u32::from_be_bytes(*run),
            member: u32::from_be_bytes(*member),
        })
    }
}

/// Makes datagrams of frames.
#[derive(Debug)]
pub(crate) struct Press {
    block: BytesMut,
    payload: usize,
    ticks: u32,
}

impl Press {
    /// For frames with so many bytes of payload, so many a second.
    pub(crate) fn new(payload: usize, rate: f64) -> Self {
        Self { block: BytesMut::new(), payload, ticks: (f64::from(CLOCK_HZ) / rate) as u32 }
    }

    /// The datagram of that frame.
    pub(crate) fn datagram(&mut self, frame: &Frame) -> Bytes {
        let length = HEADER_LEN + self.payload;
        if self.block.capacity() < length {
            self.block = BytesMut::with_capacity(BLOCK.max(length));
        }
        let header = MediaHeader {
            profile: Profile::Good,
            level: LEVEL,
            sender_id: frame.sender_id,
            sequence: frame.sequence,
            timestamp: frame.sequence.wrapping_mul(self.ticks),
        };
        self.block.extend_from_slice(&header.encode());
        self.block.extend_from_slice(&frame.sent.to_be_bytes());
        self.block.extend_from_slice(&frame.run.to_be_bytes());
        self.block.extend_from_slice(&frame.member.to_be_bytes());
        self.block.resize(length, 0);
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u32) -> Frame {
        Frame { sender_id: 7, sequence, sent: 1 << 40 | 5, run: 0xfeed, member: 3 }
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_have_the_wanted_size() {
        for payload in [MIN_PAYLOAD, 80, 1088, BLOCK] {
            let mut press = Press::new(payload, 50.0);
            for sequence in 0..2000 {
                let datagram = press.datagram(&frame(sequence));
                assert_eq!(datagram.len(), HEADER_LEN + payload);
                assert_eq!(Frame::decode(&datagram), Some(frame(sequence)));
                let (header, _) = MediaHeader::decode(&datagram).unwrap();
                assert_eq!(header.timestamp, sequence * 960);
            }
        }
    }

    #[test]
    fn what_is_no_frame_of_a_load_is_none() {
        let datagram = Press::new(MIN_PAYLOAD, 50.0).datagram(&frame(1));
        for length in 0..datagram.len() {
            assert_eq!(Frame::decode(&datagram[..length]), None, "{length} bytes");
        }
    }
}
