//! How sessions end, whoever wants it: what is counted, told and given back.

use quinn_proto::{ConnectionError, VarInt};

use super::Shard;
use super::event::{Event, Stage};
use crate::conn::Close;
use crate::count::reason::{DropReason, EndReason};
use crate::mail::RoomMail;
use crate::session::Phase;

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
        session.show_vitals(self.now, &self.shared.sessions.distributions, &self.stats);
        if let Some(vitals) = session.vitals.take() {
            self.shared.sessions.close(vitals.handle, self.now);
        }
        let (id, seat) = (session.conn.id, session.seat());
        let stage = match (seat, session.phase()) {
            (Some(seat), _) => Stage::Joined { room: self.rooms.name(seat.room) },
            (None, Phase::Handshaking { .. }) => {
                Stage::Handshake { error: session.conn.failure.take() }
            }
            (None, _) => Stage::Unjoined,
        };
        let lasted = self.now.duration_since(session.conn.began);
        let event = Event::Ended { session: id, peer: session.conn.peer(), stage, reason, lasted };
        event.span(self.now, self.now, session.conn.trace.as_ref());
        self.emit(event);
        let Some(session) = &mut self.sessions[number] else { return };
        let lost = session.conn.backlog.clear();
        self.stats.packets_dropped[DropReason::SendBuffer].add(lost);
        session.set_phase(Phase::Ended, &self.stats.states);
        session.conn.permit.close();
        if let Some(Close { code, text }) = close {
            session.conn.quic.close(self.now, VarInt::from_u32(code.wire()), text.into());
        }
        self.by_id.remove(&id);
        if let Some(seat) = seat {
            self.rooms.leave(seat.room, number);
            let mail =
                RoomMail::Leave { room: seat.room_id, sender_id: seat.sender_id, session: id };
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
