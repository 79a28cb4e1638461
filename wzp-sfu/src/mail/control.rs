//! What becomes of connections, and of the shard itself.

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::ServerConfig;

use crate::access::Answer;
use crate::ids::{RoomId, SessionId, ShardIndex};
use crate::limits::Limits;

/// From the control plane, or from the shard where a newcomer needs a place.
#[derive(Debug)]
pub enum ControlMail {
    /// The answer to an [`AuthRequest`](crate::access::AuthRequest).
    Authenticated(Box<Answer>),
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
    /// A shard failed and has begun again: its sessions are gone.
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

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was silent, and its own address or user needs the place.
    Replaced,
    /// It was idle, and others of its network have more places than the newcomer's.
    Preempted,
}
