//! What shards are told, by each other and by the control plane, by subject. Mail between
//! two shards arrives in order; what is droppable may be lost when the reader is
//! overloaded, nothing else may.

mod control;
mod media;
mod room;

pub use control::{Cause, ControlMail};
pub use media::{Hearing, MediaMail};
pub use room::{Admitted, Change, JoinRequest, RoomMail, Snapshot};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;

use crate::path::Path;

/// One message to a shard.
#[derive(Debug)]
pub enum Mail {
    /// What becomes of connections, and of the shard itself.
    Control(ControlMail),
    /// Who is in a room.
    Room(RoomMail),
    /// What is said in a room, and how it is heard.
    Media(MediaMail),
    /// A packet whose connection id names this shard but that the kernel gave
    /// to another.
    Packet(Packet),
}

impl Mail {
    /// Whether it may be dropped when the reader is overloaded.
    pub fn is_droppable(&self) -> bool {
        match self {
            Self::Media(_) | Self::Packet(_) => true,
            Self::Control(_) | Self::Room(_) => false,
        }
    }
}

impl From<ControlMail> for Mail {
    fn from(mail: ControlMail) -> Self {
        Self::Control(mail)
    }
}

impl From<RoomMail> for Mail {
    fn from(mail: RoomMail) -> Self {
        Self::Room(mail)
    }
}

impl From<MediaMail> for Mail {
    fn from(mail: MediaMail) -> Self {
        Self::Media(mail)
    }
}

impl From<Packet> for Mail {
    fn from(packet: Packet) -> Self {
        Self::Packet(packet)
    }
}

/// A UDP packet as it came from the network.
#[derive(Debug)]
pub struct Packet {
    /// From where to where it was sent.
    pub path: Path,
    /// Congestion mark of the IP header.
    pub ecn: Option<EcnCodepoint>,
    /// The UDP payload.
    pub data: BytesMut,
}
