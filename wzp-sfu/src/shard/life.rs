//! Whether a shard takes anybody in: serving, draining, drained, and back.

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::ServerConfig;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Draining, Resumed, relay_message::Message};

use super::Shard;
use crate::conn::Close;
use crate::limits::Limits;

/// Sessions that hear in one turn of a change: ten thousand in one would keep
/// every frame waiting for half a second.
const TOLD_PER_TURN: usize = 16;

/// Whether the shard takes anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Serving,
    /// Nobody new; what is left is closed at the deadline.
    Draining {
        deadline: Instant,
    },
    /// Nobody new and nobody left.
    Drained,
}

impl Shard {
    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Draining { deadline } => Some(deadline),
            Life::Serving | Life::Drained => None,
        }
    }

    /// Nobody new from now on; everyone here is told.
    pub(super) fn drain(&mut self, deadline: Instant) {
        self.change(Life::Draining { deadline });
    }

    /// Takes the drain back, at whatever stage; everyone who is still here is told.
    pub(super) fn undrain(&mut self) {
        self.change(Life::Serving);
    }

    /// Ends everything, at once.
    pub fn stop(&mut self, now: Instant) {
        self.now = now;
        self.change(Life::Drained);
        self.spread_word(usize::MAX);
        self.ignore_deferred();
    }

    fn change(&mut self, life: Life) {
        self.life = life;
        self.untold = 0..self.sessions.len();
    }

    /// Begins what is due, and tells the next few of what has begun.
    pub(super) fn live(&mut self) {
        if self.drain_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.change(Life::Drained);
        }
        self.spread_word(TOLD_PER_TURN);
    }

    fn spread_word(&mut self, at_most: usize) {
        let mut told = 0;
        while told < at_most
            && let Some(number) = self.untold.next()
        {
            told += usize::from(self.sessions[number].is_some());
            match self.life {
                Life::Serving => self.tell_member(number, Message::Resumed(Resumed {})),
                Life::Draining { deadline } => self.tell_draining(number, deadline),
                Life::Drained => {
                    let close = Close::new(CloseCode::GoingAway, "this relay is stopping");
                    self.settle(number, Err(close));
                }
            }
        }
    }

    pub(super) fn tell_draining(&mut self, number: usize, deadline: Instant) {
        let remaining = deadline.saturating_duration_since(self.now);
        let deadline_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        self.tell_member(number, Message::Draining(Draining { deadline_ms }));
    }

    fn tell_member(&mut self, number: usize, message: Message) {
        let Some(session) = &mut self.sessions[number] else { return };
        if session.seat().is_some() {
            let verdict = session.conn.tell(message);
            self.touch(number);
            self.settle(number, verdict);
        }
    }

    /// Queues, rates and deadlines of sessions that are there stay.
    pub(super) fn set_limits(&mut self, limits: Arc<Limits>) {
        self.directory.set_limits(&limits);
        self.shared.limits = limits;
    }

    /// Connections that have begun keep what they began with.
    pub(super) fn set_server(&mut self, config: Arc<ServerConfig>) {
        self.endpoint.set_server_config(Some(config.clone()));
        self.shared.server = config;
    }
}
