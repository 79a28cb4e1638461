//! What shards tell each other. Mail between two shards arrives in order;
//! media mail may be dropped when the reader is overloaded, all other mail
//! may not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{EcnCodepoint, ServerConfig};
use wzp_proto::close::CloseCode;

use crate::access::Answer;
use crate::ids::{RoomId, SessionId, ShardIndex};
use crate::limits::Limits;

/// One message to a shard.
#[derive(Debug)]
pub enum Mail {
    /// From the control plane: the answer to an
    /// [`AuthRequest`](crate::access::AuthRequest).
    Authenticated(Box<Answer>),
    /// To a room's home: somebody wants in.
    Join(JoinRequest),
    /// To a room's home: somebody is gone.
    Leave {
        /// The room left.
        room: RoomId,
        /// The id given up.
        sender_id: u16,
        /// Whose it was.
        session: SessionId,
    },
    /// To a room's home: somebody muted or unmuted.
    SetMuted {
        /// The room.
        room: RoomId,
        /// Who.
        sender_id: u16,
        /// How it is now.
        muted: bool,
    },
    /// From a room's home: the answer to `Join`.
    Admitted(Box<Admitted>),
    /// From a room's home: the other answer to `Join`.
    Refused {
        /// Who asked.
        session: SessionId,
        /// Why, as a number.
        code: CloseCode,
        /// Why, as a sentence.
        text: String,
    },
    /// From a room's home: other shards have members from now on.
    Spread {
        /// The room.
        room: RoomId,
        /// The shards that have members.
        shards: Arc<[ShardIndex]>,
    },
    /// From a room's home: what has become of the membership.
    Changed(Change),
    /// A member's voice for the members on this shard.
    Media {
        /// The room.
        room: RoomId,
        /// Who said it.
        sender_id: u16,
        /// The whole media datagram.
        frame: Bytes,
        /// When it may wait no longer for company.
        due: Instant,
    },
    /// What a listener elsewhere hears of senders that may be here.
    Heard {
        /// The room.
        room: RoomId,
        /// The listener's own sender id.
        listener: u16,
        /// What was heard, by sender id.
        senders: Arc<[(u16, Hearing)]>,
    },
    /// A packet whose connection id names this shard but that the kernel gave
    /// to another.
    Packet(Packet),
    /// Take nobody in any more, tell everyone, and end what is left at the
    /// deadline.
    Drain {
        /// When sessions are closed.
        deadline: Instant,
    },
    /// Take people in again and tell everyone: the drain is off.
    Undrain,
    /// End a session because an operator says so.
    Kick {
        /// Whose.
        session: SessionId,
        /// Why, as a sentence for the client.
        text: String,
    },
    /// End a connection that has to go for a newcomer.
    MakeWay {
        /// Whose.
        session: SessionId,
        /// Why.
        cause: Cause,
    },
    /// Ask a session's QUIC stack for a sign of life.
    Probe(SessionId),
    /// Connections that begin from now on get this identity.
    Server(Arc<ServerConfig>),
    /// Hold to these limits from now on.
    Limits(Arc<Limits>),
    /// From a shard that failed and has begun again: its sessions are gone.
    Failed {
        /// Which.
        shard: ShardIndex,
        /// The room that it was changing, of which nothing is known any more.
        room: Option<RoomId>,
    },
    /// Fail: for tests.
    #[cfg(debug_assertions)]
    Panic,
}

impl Mail {
    /// Whether it may be dropped when the reader is overloaded.
    pub fn is_droppable(&self) -> bool {
        matches!(self, Self::Media { .. } | Self::Packet(_) | Self::Heard { .. })
    }
}

/// A UDP packet as it came from the network.
#[derive(Debug)]
pub struct Packet {
    /// Who sent it.
    pub remote: SocketAddr,
    /// The address it was sent to, if known.
    pub local_ip: Option<IpAddr>,
    /// Congestion mark of the IP header.
    pub ecn: Option<EcnCodepoint>,
    /// The UDP payload.
    pub data: BytesMut,
}

/// A session's wish to enter a room.
#[derive(Debug)]
pub struct JoinRequest {
    /// The room's name.
    pub room: Arc<str>,
    /// Who asks.
    pub session: SessionId,
    /// Where it sits.
    pub shard: ShardIndex,
    /// How others should call it.
    pub member_name: String,
    /// Whether it joins muted.
    pub muted: bool,
}

/// A session's place in a room.
#[derive(Debug)]
pub struct Admitted {
    /// Who asked.
    pub session: SessionId,
    /// The room.
    pub room: RoomId,
    /// The room's name.
    pub name: Arc<str>,
    /// The id to send under.
    pub sender_id: u16,
    /// Who else is there.
    pub snapshot: Snapshot,
    /// The shards that have members, the newcomer's included.
    pub shards: Arc<[ShardIndex]>,
}

/// The members of a room as all of them have last been told.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The room's version at that time.
    pub version: u64,
    /// How many they are.
    pub count: u32,
    /// They, as encoded `Members` messages.
    pub messages: Bytes,
}

/// Changes of a room's membership.
#[derive(Clone, Debug)]
pub struct Change {
    /// The room.
    pub room: RoomId,
    /// What to tell the members: `RoomChanged` messages, encoded once for all of them.
    pub messages: Bytes,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was silent, and its own address or user needs the place.
    Replaced,
    /// It was idle, and others of its network have more places than the newcomer's.
    Preempted,
}

/// What a listener heard of one sender in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Frames that should have come, at least one.
    pub expected: u32,
    /// Those of them that did not.
    pub lost: u32,
    /// Loss on the way from the relay to the listener, as the relay knows it
    /// meanwhile, in parts per million.
    pub known_ppm: u32,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
    /// How long it took to gather.
    pub span: Duration,
}

impl Hearing {
    /// The loss claimed, in parts per million.
    pub(crate) fn claimed_ppm(&self) -> u64 {
        u64::from(self.lost.min(self.expected)) * 1_000_000 / u64::from(self.expected.max(1))
    }
}
