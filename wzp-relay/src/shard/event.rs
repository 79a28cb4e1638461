//! What a shard tells of its sessions to whoever keeps an account of them: a few
//! events per session, none per packet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::reason::{AuthFailReason, EndReason};
use crate::room::SessionId;

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
    /// It left its room, or had to.
    Ended {
        /// Which.
        session: SessionId,
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
