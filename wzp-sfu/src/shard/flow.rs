//! What a shard tells whoever counts packets in the kernel: which peer's
//! addresses belong to which session. A few events per session, none per
//! packet.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::count::rooms::RoomCount;
use crate::ids::SessionId;

/// One event in the life of a flow. Those of a session come in order.
#[derive(Clone, Debug)]
pub enum FlowEvent {
    /// The handshake is done: this peer is known.
    Opened {
        /// Whose flow.
        session: SessionId,
        /// The peer, in canonical form.
        remote: SocketAddr,
    },
    /// It entered a room, which its packets count for from now on.
    Seated {
        /// Whose flow.
        session: SessionId,
        /// The room's name.
        name: Arc<str>,
        /// Where to count.
        room: Arc<RoomCount>,
    },
    /// The peer's address changed.
    Moved {
        /// Whose flow.
        session: SessionId,
        /// The peer's new address, in canonical form.
        remote: SocketAddr,
    },
    /// QUIC has sent the last packet.
    Closed {
        /// Whose flow.
        session: SessionId,
    },
}
