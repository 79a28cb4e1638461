//! What of a session is traced. Each costs one atomic load while traces are off.

use std::time::Instant;

use wzp_telemetry::trace::{KeyValue, SpanContext, finished};
use wzp_untrusted::text;

use crate::count::reason::{EndReason, Reason};
use crate::session::Session;

/// From a connection's first packet to the end of its handshake. The others are
/// its children.
pub(super) fn handshake(session: &Session, now: Instant) -> Option<SpanContext> {
    finished("handshake", session.began, now, None, || {
        [
            KeyValue::new("session", session.id.to_string()),
            KeyValue::new("client.address", session.peer().ip().to_string()),
        ]
    })
}

/// From Hello to the place in the room, the decision about the token included.
pub(super) fn join(session: &Session, room: &str, now: Instant) {
    let Some(parent) = &session.trace else { return };
    finished("join", session.asked_at.unwrap_or(now), now, Some(parent), || {
        [
            KeyValue::new("session", session.id.to_string()),
            KeyValue::new("room", text::name(room).to_string()),
        ]
    });
}

/// The end of a session that was in a room.
pub(super) fn leave(session: &Session, reason: EndReason, now: Instant) {
    let Some(parent) = &session.trace else { return };
    finished("leave", now, now, Some(parent), || {
        [KeyValue::new("session", session.id.to_string()), KeyValue::new("reason", reason.name())]
    });
}

/// What a histogram may refer to: only traces that are sent.
pub(super) fn exemplar(trace: &SpanContext) -> Option<[u8; 16]> {
    trace.is_sampled().then(|| trace.trace_id().to_bytes())
}
