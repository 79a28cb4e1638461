//! What a shard tells of its sessions to whoever keeps an account of them: a few
//! events per session, none per packet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::count::reason::{AuthFailReason, EndReason};
use crate::ids::SessionId;

/// One event in the life of a session.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// It entered a room.
    Joined {
        /// Which.
        session: SessionId,
        /// The room's name.
        room: Arc<str>,
        /// How others call it.
        name: String,
        /// Who it is to whoever made its token.
        user: Option<Arc<str>>,
        /// Where its packets come from, in canonical form.
        peer: SocketAddr,
    },
    /// Its packets come from another address.
    Moved {
        /// Which.
        session: SessionId,
        /// Where they come from now, in canonical form.
        peer: SocketAddr,
    },
    /// It said that it is muted, or not any more.
    Muted {
        /// Which.
        session: SessionId,
        /// Whether it is.
        muted: bool,
    },
    /// It left its room, or had to.
    Ended {
        /// Which.
        session: SessionId,
        /// The room's name.
        room: Arc<str>,
        /// Why.
        reason: EndReason,
        /// Since its first packet.
        lasted: Duration,
    },
    /// It was not let in.
    Refused {
        /// Which.
        session: SessionId,
        /// The room it asked for.
        room: String,
        /// Where it came from.
        ip: IpAddr,
        /// Why not.
        reason: AuthFailReason,
    },
}

impl SessionEvent {
    /// The session that it is about.
    pub fn session(&self) -> SessionId {
        match self {
            Self::Joined { session, .. }
            | Self::Moved { session, .. }
            | Self::Muted { session, .. }
            | Self::Ended { session, .. }
            | Self::Refused { session, .. } => *session,
        }
    }
}
