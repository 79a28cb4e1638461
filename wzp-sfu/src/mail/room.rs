//! Who is in a room: what its home is asked, and what it tells.

use std::sync::Arc;

use bytes::Bytes;
use wzp_proto::close::CloseCode;

use crate::ids::{RoomId, SessionId, ShardIndex};

/// To a room's home, or from it.
#[derive(Debug)]
pub enum RoomMail {
    /// To the home: somebody wants in.
    Join(JoinRequest),
    /// To the home: somebody is gone.
    Leave {
        /// The room left.
        room: RoomId,
        /// The id given up.
        sender_id: u16,
        /// Whose it was.
        session: SessionId,
    },
    /// To the home: somebody muted or unmuted.
    SetMuted {
        /// The room.
        room: RoomId,
        /// Who.
        sender_id: u16,
        /// How it is now.
        muted: bool,
    },
    /// From the home: the answer to `Join`.
    Admitted(Box<Admitted>),
    /// From the home: the other answer to `Join`.
    Refused {
        /// Who asked.
        session: SessionId,
        /// Why, as a number.
        code: CloseCode,
        /// Why, as a sentence.
        text: String,
    },
    /// From the home: other shards have members from now on.
    Spread {
        /// The room.
        room: RoomId,
        /// The shards that have members.
        shards: Arc<[ShardIndex]>,
    },
    /// From the home: what has become of the membership.
    Changed(Change),
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
