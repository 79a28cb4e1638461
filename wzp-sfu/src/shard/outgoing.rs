//! Packets on their way out of a shard, collected over one turn of the loop.

use quinn_proto::{EcnCodepoint, Transmit};

use crate::conn::Standing;
use crate::path::Path;

/// One UDP packet.
#[derive(Debug)]
pub struct OutPacket {
    /// From where to where.
    pub path: Path,
    /// Congestion mark for the IP header.
    pub ecn: Option<EcnCodepoint>,
    /// Whether packets get there.
    pub standing: Standing,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

/// Packets in the order they were made. Their buffers are used again.
#[derive(Debug, Default)]
pub struct Outgoing {
    packets: Vec<OutPacket>,
    spare: Vec<Vec<u8>>,
}

impl Outgoing {
    /// Lets `write` fill an empty buffer for a peer that has not proved its
    /// address.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<Transmit>) {
        self.write_to(Standing::Late, write);
    }

    /// Lets `write` fill an empty buffer; the size of the packet if one came of
    /// it.
    pub(crate) fn write_to(
        &mut self,
        standing: Standing,
        write: impl FnOnce(&mut Vec<u8>) -> Option<Transmit>,
    ) -> Option<usize> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        let Some(transmit) = write(&mut bytes) else {
            self.spare.push(bytes);
            return None;
        };
        debug_assert!(transmit.segment_size.is_none(), "one packet was asked for");
        let Transmit { destination: remote, ecn, src_ip: local, size, .. } = transmit;
        let path = Path { remote, local };
        bytes.truncate(size);
        self.packets.push(OutPacket { path, ecn, standing, bytes });
        Some(size)
    }

    /// What is to be sent.
    pub fn packets(&self) -> &[OutPacket] {
        &self.packets
    }

    /// Forgets the packets and keeps their buffers.
    pub fn clear(&mut self) {
        self.spare.extend(self.packets.drain(..).map(|packet| packet.bytes));
    }
}
