//! What happens to connections and sessions, for those who watch from outside: each event
//! is declared here with its line in the log, its counters, its span, and what the audit
//! log and those who follow events are told of it. A few events per session, none per
//! packet; the shard says only that it happened.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wzp_telemetry::limited;
use wzp_telemetry::log::Limit;
use wzp_telemetry::settings::AuditEvent;
use wzp_telemetry::trace::{KeyValue, SpanContext, finished};
use wzp_untrusted::text;

use crate::count::distributions::Distributions;
use crate::count::reason::{AuthFailReason, EndReason, Reason, RefuseReason};
use crate::count::rooms::RoomCount;
use crate::count::stats::ShardStats;
use crate::ids::SessionId;

/// One event. Those of a session come in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A first packet did not become a connection.
    TurnedAway {
        /// Who sent it.
        peer: SocketAddr,
        /// Why.
        reason: RefuseReason,
        /// What QUIC had to say of it, which the peer may have chosen.
        error: Option<String>,
    },
    /// The handshake is done: this peer is known, and so are its packets in the kernel.
    Connected {
        /// The session that begins.
        session: SessionId,
        /// Where its packets come from, in canonical form.
        peer: SocketAddr,
    },
    /// It entered a room, which its packets count for from now on.
    Joined {
        /// Which.
        session: SessionId,
        /// The room's name.
        room: Arc<str>,
        /// What the others know it by.
        sender_id: u16,
        /// How others call it.
        name: String,
        /// Who it is to whoever made its token.
        user: Option<Arc<str>>,
        /// Where its packets come from, in canonical form.
        peer: SocketAddr,
        /// Where the room's forwarded packets are counted.
        counts: Arc<RoomCount>,
    },
    /// Its packets come from another address.
    Moved {
        /// Which.
        session: SessionId,
        /// Where they come from now, in canonical form.
        peer: SocketAddr,
        /// Whether it is in a room.
        is_joined: bool,
    },
    /// It said that it is muted, or not any more.
    Muted {
        /// Which.
        session: SessionId,
        /// Whether it is.
        muted: bool,
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
    /// It left, or had to.
    Ended {
        /// Which.
        session: SessionId,
        /// Where its packets came from, in canonical form.
        peer: SocketAddr,
        /// How far it had come.
        stage: Stage,
        /// Why.
        reason: EndReason,
        /// Since its first packet.
        lasted: Duration,
    },
    /// QUIC has sent its last packet: its address is nobody's.
    Forgotten {
        /// Which.
        session: SessionId,
    },
}

/// How far a session had come when it ended.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The handshake was not done.
    Handshake {
        /// What QUIC said of it. The peer may have chosen the words.
        error: Option<String>,
    },
    /// It was in no room.
    Unjoined,
    /// It was in a room.
    Joined {
        /// Its name. A panic may have left a member without it: that end was told.
        room: Option<Arc<str>>,
    },
}

/// What a shard may log of each kind of event, by the shard's own clock.
#[derive(Debug)]
pub(super) struct Lines {
    joined: Limit,
    ended: Limit,
    unjoined: Limit,
    handshakes: Limit,
    invalid: Limit,
    turned_away: Limit,
    refused: Limit,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            joined: Limit::per_second(100),
            ended: Limit::per_second(100),
            unjoined: Limit::per_second(10),
            // Strangers can cause these at will.
            handshakes: Limit::per_minute(60),
            invalid: Limit::per_minute(60),
            turned_away: Limit::per_second(10),
            refused: Limit::per_second(10),
        }
    }
}

impl Event {
    /// Logs it, at `now` since the relay's start.
    pub(super) fn log(&self, lines: &Lines, now: Duration) {
        match self {
            // Before there is a session: another ALPN, or TLS that is none.
            Self::TurnedAway { peer, reason, error: Some(error) } => {
                limited!(lines.invalid, now; SESSION, INFO, src_ip = %peer.ip(), src_port = peer.port(),
                         reason = reason.name(), error, "handshake failed");
            }
            Self::TurnedAway { peer, reason, error: None } => {
                limited!(lines.turned_away, now; SESSION, DEBUG, src_ip = %peer.ip(), src_port = peer.port(),
                         reason = reason.name(), "connection refused");
            }
            Self::Joined { session, room, sender_id, user, peer, .. } => {
                limited!(lines.joined, now; SESSION, INFO, peer_id = %session, room = &**room, sender_id,
                         src_ip = %peer.ip(), src_port = peer.port(), user = user.as_deref(),
                         "session joined");
            }
            Self::Refused { session, ip, reason, .. } => {
                limited!(lines.refused, now; AUTH, DEBUG, peer_id = %session, src_ip = %ip,
                         reason = reason.name(), "auth failed");
            }
            Self::Ended { session, peer, stage, reason, .. } => {
                let (ip, port, reason) = (peer.ip(), peer.port(), reason.name());
                match stage {
                    Stage::Handshake { error } => {
                        limited!(lines.handshakes, now; SESSION, INFO, peer_id = %session, src_ip = %ip,
                                 src_port = port, reason, error = error.as_deref(), "handshake failed");
                    }
                    Stage::Unjoined => {
                        limited!(lines.unjoined, now; SESSION, DEBUG, peer_id = %session, src_ip = %ip,
                                 src_port = port, reason, "connection ended");
                    }
                    Stage::Joined { .. } => {
                        limited!(lines.ended, now; SESSION, INFO, peer_id = %session, src_ip = %ip,
                                 src_port = port, reason, "session ended");
                    }
                }
            }
            Self::Connected { .. }
            | Self::Moved { .. }
            | Self::Muted { .. }
            | Self::Forgotten { .. } => {}
        }
    }

    /// Counts it.
    pub(super) fn count(&self, stats: &ShardStats, distributions: &Distributions) {
        match self {
            Self::TurnedAway { reason, .. } => stats.connections_refused[*reason].add(1),
            Self::Joined { .. } => stats.sessions_joined.add(1),
            Self::Ended { stage, reason, lasted, .. } => {
                stats.connections_closed[*reason].add(1);
                distributions.connection.observe(*lasted);
                if let Stage::Handshake { .. } = stage {
                    stats.handshake_failures[(*reason).into()].add(1);
                }
            }
            Self::Connected { .. }
            | Self::Moved { .. }
            | Self::Muted { .. }
            | Self::Refused { .. }
            | Self::Forgotten { .. } => {}
        }
    }

    /// Records the span that it is the end of, which began at `start`: the handshake from
    /// the first packet on, the join from Hello on, the decision about the token included.
    /// `parent` is the handshake's, which has none. Costs one atomic load while traces are
    /// off.
    pub(super) fn span(
        &self,
        start: Instant,
        now: Instant,
        parent: Option<&SpanContext>,
    ) -> Option<SpanContext> {
        match self {
            Self::Connected { session, peer } => finished("handshake", start, now, None, || {
                [
                    KeyValue::new("session_id", session.to_string()),
                    KeyValue::new("client.address", peer.ip().to_string()),
                ]
            }),
            Self::Joined { session, room, .. } => {
                finished("join", start, now, Some(parent?), || {
                    [
                        KeyValue::new("session_id", session.to_string()),
                        KeyValue::new("room", text::name(room).to_string()),
                    ]
                })
            }
            Self::Ended { session, reason, stage: Stage::Joined { .. }, .. } => {
                finished("leave", start, now, Some(parent?), || {
                    [
                        KeyValue::new("session_id", session.to_string()),
                        KeyValue::new("reason", reason.name()),
                    ]
                })
            }
            _ => None,
        }
    }

    /// Whether anybody outside the shard is told: not of those who were never in a room,
    /// which strangers can cause at will.
    pub(super) fn is_told(&self) -> bool {
        match self {
            Self::TurnedAway { .. } => false,
            Self::Ended { stage, .. } => matches!(stage, Stage::Joined { room: Some(_) }),
            _ => true,
        }
    }

    /// The session that it is about, if there is one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::TurnedAway { .. } => None,
            Self::Connected { session, .. }
            | Self::Joined { session, .. }
            | Self::Moved { session, .. }
            | Self::Muted { session, .. }
            | Self::Refused { session, .. }
            | Self::Ended { session, .. }
            | Self::Forgotten { session } => Some(*session),
        }
    }

    /// As what the audit log has it, if it does, and whether that is a success.
    pub fn audit(&self) -> Option<(AuditEvent, bool)> {
        match self {
            Self::Joined { .. } => Some((AuditEvent::SessionStart, true)),
            Self::Ended { .. } => Some((AuditEvent::SessionEnd, true)),
            Self::Refused { .. } => Some((AuditEvent::AuthFailure, false)),
            // It is in the same room as before, or in none.
            Self::TurnedAway { .. }
            | Self::Connected { .. }
            | Self::Moved { .. }
            | Self::Muted { .. }
            | Self::Forgotten { .. } => None,
        }
    }

    /// What it is called by those who follow events, if they hear of it.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Joined { .. } => Some("joined"),
            Self::Moved { is_joined: true, .. } => Some("moved"),
            Self::Muted { .. } => Some("muted"),
            Self::Ended { .. } => Some("left"),
            Self::Refused { .. } => Some("refused"),
            Self::TurnedAway { .. }
            | Self::Connected { .. }
            | Self::Moved { .. }
            | Self::Forgotten { .. } => None,
        }
    }

    /// What both are told of it, as an object.
    pub fn details(&self) -> Value {
        match self {
            Self::Joined { room, name, user, peer, .. } => {
                json!({ "room": &**room, "name": name, "user": user.as_deref(), "peer": peer })
            }
            Self::Moved { peer, .. } => json!({ "peer": peer }),
            Self::Muted { muted, .. } => json!({ "muted": muted }),
            Self::Ended { stage, reason, lasted, .. } => {
                let room = match stage {
                    Stage::Joined { room } => room.as_deref(),
                    Stage::Handshake { .. } | Stage::Unjoined => None,
                };
                let seconds = lasted.as_millis() as f64 / 1e3;
                json!({ "room": room, "reason": reason.name(), "seconds": seconds })
            }
            Self::Refused { room, ip, reason, .. } => {
                json!({ "room": room, "src_ip": ip, "reason": reason.name() })
            }
            Self::TurnedAway { .. } | Self::Connected { .. } | Self::Forgotten { .. } => json!({}),
        }
    }
}

/// What a histogram may refer to: only traces that are sent.
pub(super) fn exemplar(trace: &SpanContext) -> Option<[u8; 16]> {
    trace.is_sampled().then(|| trace.trace_id().to_bytes())
}
