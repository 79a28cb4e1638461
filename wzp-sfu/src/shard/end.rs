//! How sessions end, whoever wants it: what is counted, told and given back.

use quinn_proto::{ConnectionError, VarInt};
use wzp_telemetry::limited;

use super::event::SessionEvent;
use super::{Shard, spans};
use crate::count::reason::{DropReason, EndReason, Reason};
use crate::mail::Mail;
use crate::session::{Close, Phase};

impl Shard {
    /// Ends a session with a code and a sentence, if that is the verdict.
    pub(super) fn settle(&mut self, number: usize, verdict: Result<(), Close>) {
        if let Err(close) = verdict {
            self.end(number, close.code.into(), Some(close));
        }
    }

    /// The one place where a session ends, whatever the cause. Idempotent.
    pub(super) fn end(&mut self, number: usize, reason: EndReason, close: Option<Close>) {
        let Some(session) = &mut self.sessions[number] else { return };
        if session.has_ended() {
            return;
        }
        self.stats.connections_closed[reason].add(1);
        if let Phase::Handshaking { .. } = session.phase() {
            self.stats.handshake_failures[reason.into()].add(1);
        }
        let distributions = &self.shared.sessions.distributions;
        distributions.connection.observe(self.now.duration_since(session.began));
        session.show_vitals(self.now, distributions, &self.stats);
        if let Some(vitals) = session.vitals.take() {
            self.shared.sessions.close(vitals.handle, self.now);
        }
        let (ip, port) = (session.peer().ip(), session.peer().port());
        let (id, why) = (session.id, reason.name());
        match (session.seat(), session.phase()) {
            (Some(_), _) => {
                limited!(SESSION, INFO, per_second(100), peer_id = %id, src_ip = %ip, src_port = port,
                         reason = why, "session ended");
            }
            // Strangers can cause the others at will.
            (None, Phase::Handshaking { .. }) => {
                limited!(SESSION, INFO, per_minute(60), peer_id = %id, src_ip = %ip, src_port = port,
                         reason = why, error = session.failure.as_deref(), "handshake failed");
            }
            (None, _) => {
                limited!(SESSION, DEBUG, per_second(10), peer_id = %id, src_ip = %ip, src_port = port,
                         reason = why, "connection ended");
            }
        }
        let seat = session.seat();
        let id = session.id;
        if let Some(seat) = &seat {
            spans::leave(session, reason, self.now);
            let lasted = self.now.duration_since(session.began);
            // A panic may have left a seat without its room; it ends once all the same.
            if let Some(room) = self.rooms.name(seat.room) {
                self.session_events.push(SessionEvent::Ended { session: id, room, reason, lasted });
            }
        }
        let lost = session.backlog.clear();
        self.stats.packets_dropped[DropReason::SendBuffer].add(lost);
        session.set_phase(Phase::Ended, &self.stats.states);
        session.permit.close();
        if let Some(Close { code, text }) = close {
            session.connection.close(self.now, VarInt::from_u32(code.wire()), text.into());
        }
        self.by_id.remove(&id);
        if let Some(seat) = seat {
            self.rooms.leave(seat.room, number);
            let mail = Mail::Leave { room: seat.room_id, sender_id: seat.sender_id, session: id };
            self.post(seat.room_id.home.into(), mail);
        }
        self.touch(number);
    }
}

/// Which label an end has that the relay did not ask for.
pub(super) fn end_reason(error: &ConnectionError) -> EndReason {
    match error {
        ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => EndReason::Left,
        ConnectionError::TimedOut => EndReason::IdleTimeout,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::CidsExhausted => EndReason::Transport,
    }
}
