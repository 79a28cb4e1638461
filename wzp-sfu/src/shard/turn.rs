//! The end of a turn: all that was received is fanned out, then packets are
//! written.

use std::time::Instant;

use quinn_proto::{ConnectionHandle, EndpointEvent};

use super::event::Event;
use super::{Outgoing, Shard, mark};
use crate::conn::backlog::Outcome;
use crate::count::reason::{EndReason, SessionState};

/// A packet shorter than this, in bytes, was not short of space: QUIC packets
/// have 1200, and frames that are split are never cut this short.
const PARTLY_FILLED: usize = 1100;

impl Shard {
    /// Ends the turn: everything received is fanned out, then everything to be
    /// sent is written to `out`, but for receivers whose frames may still wait
    /// for company: those come first in the next turn.
    pub fn flush(&mut self, now: Instant, out: &mut Outgoing) {
        self.now = now;
        self.admit_deferred(out);
        loop {
            // Fanning out touches receivers, which join the same list's end.
            let mut next = 0;
            loop {
                while let Some(mail) = self.own_mail.pop_front() {
                    self.dispatch(mail, out);
                }
                let Some(number) = self.touched.get(next).copied() else {
                    // Once all have said what they had to say.
                    match self.tell_rooms() {
                        true => continue,
                        false => break,
                    }
                };
                next += 1;
                self.handle_events(number);
            }
            if self.touched.is_empty() {
                break;
            }
            // Writing touches those whose endpoint had something to say.
            std::mem::swap(&mut self.touched, &mut self.writing);
            for next in 0..self.writing.len() {
                let number = self.writing[next];
                match self.may_wait(number) {
                    true => self.waiting.push(number),
                    false => self.transmit(number, out),
                }
            }
            self.writing.clear();
        }
        let sessions = self.waiting.iter().filter_map(|number| self.sessions[*number].as_ref());
        self.waiting_until = sessions.filter_map(|session| session.conn.bundle.due()).min();
        // They are marked as touched still.
        std::mem::swap(&mut self.touched, &mut self.waiting);
    }

    /// Whether a receiver's packets may wait for a later turn.
    fn may_wait(&self, number: usize) -> bool {
        let session = self.sessions[number].as_ref();
        session
            .is_some_and(|session| session.conn.bundle.may_wait(self.now) && !session.has_ended())
    }

    /// Writes a connection's packets and lets it and the endpoint talk.
    fn transmit(&mut self, number: usize, out: &mut Outgoing) {
        let Some(session) = &mut self.sessions[number] else { return };
        session.conn.is_touched = false;
        session.conn.bundle.clear();
        let is_joined = session.seat().is_some();
        let is_forgotten = session.is_forgotten(self.now);
        // Nobody is there to read what QUIC would repeat.
        let is_silent = is_forgotten && !session.conn.quic.is_closed();
        let standing = session.conn.delivery.standing(self.now, &session.conn.quic);
        let mut outcome = Outcome::default();
        let mut sent_media = false;
        loop {
            if is_silent {
                break;
            }
            // Topped up before every packet, so that each leaves full.
            outcome += session.conn.backlog.drain_into(&mut session.conn.quic);
            let space = session.conn.quic.datagrams().send_buffer_space();
            let size = out.write_to(standing, |buffer| session.conn.write_packet(self.now, buffer));
            let Some(size) = size else { break };
            let space_after = session.conn.quic.datagrams().send_buffer_space();
            let carries_media = space_after > space;
            if carries_media {
                self.stats.udp_packets_with_media.add(1);
                session.conn.media_packets += 1;
                session.conn.delivery.sent(self.now);
            }
            sent_media |= carries_media;
            // All that was pending is in a packet that is not full, but for what
            // comes in packets of its own during a handshake or at the end.
            let is_last = size < PARTLY_FILLED && space_after == session.conn.send_buffer;
            if is_joined && is_last {
                break;
            }
        }
        session.conn.forwarded += outcome.sent;
        let distributions = &self.shared.sessions.distributions;
        session.show_vitals_if_due(self.now, sent_media, distributions, &self.stats);
        if let Some(seat) = session.seat() {
            self.count_forwarded(seat.room, outcome);
        }
        let Some(session) = &mut self.sessions[number] else { return };
        let mut drained = false;
        while let Some(event) = session.conn.quic.poll_endpoint_events() {
            drained |= event.is_drained();
            let answer = self.endpoint.handle_event(ConnectionHandle(number), event);
            if let Some(event) = answer {
                session.conn.quic.handle_event(event);
                mark(&mut self.touched, number, session);
            }
        }
        if is_forgotten && !drained {
            drained = true;
            self.endpoint.handle_event(ConnectionHandle(number), EndpointEvent::drained());
        }
        if drained {
            // An unclean end that QUIC reported no event for would otherwise
            // leave a member behind.
            self.end(number, EndReason::Transport, None);
            self.touched.retain(|touched| *touched != number);
            if let Some(session) = self.sessions[number].take() {
                self.stats.states[SessionState::Closing].sub(1);
                if session.conn.known_address.is_some() {
                    self.emit(Event::Forgotten { session: session.conn.id });
                }
            }
            self.timers.forget(number);
            return;
        }
        let peer = session.conn.peer();
        if let Some(deadline) = session.next_timeout() {
            self.timers.wake_by(number, deadline);
        }
        if session.conn.known_address.is_some_and(|known| known != peer) {
            session.conn.known_address = Some(peer);
            if let Some(vitals) = &session.vitals {
                self.shared.sessions.moved(&vitals.handle, peer);
            }
            let (session, is_joined) = (session.conn.id, session.vitals.is_some());
            self.emit(Event::Moved { session, peer, is_joined });
        }
    }
}
