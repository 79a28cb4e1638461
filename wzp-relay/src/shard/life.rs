//! Whether a shard takes anybody in: serving, draining, drained, and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::ServerConfig;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Draining, Resumed, relay_message::Message};

use super::Shard;
use crate::config::Limits;
use crate::session::Close;

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
        self.life = Life::Draining { deadline };
        let remaining = deadline.saturating_duration_since(self.now);
        for number in 0..self.sessions.len() {
            self.tell_draining(number, remaining);
        }
    }

    /// Takes the drain back, at whatever stage; everyone who is still here is told.
    pub(super) fn undrain(&mut self) {
        self.life = Life::Serving;
        for number in 0..self.sessions.len() {
            self.tell_member(number, Message::Resumed(Resumed {}));
        }
    }

    pub(super) fn tell_draining(&mut self, number: usize, remaining: Duration) {
        let deadline_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        self.tell_member(number, Message::Draining(Draining { deadline_ms }));
    }

    fn tell_member(&mut self, number: usize, message: Message) {
        let Some(session) = &mut self.sessions[number] else { return };
        if session.seat().is_some() {
            let verdict = session.tell(message);
            self.touch(number);
            self.settle(number, verdict);
        }
    }

    /// Ends everything at the drain's deadline.
    pub(super) fn close_all(&mut self) {
        self.life = Life::Drained;
        for number in 0..self.sessions.len() {
            let close = Close::new(CloseCode::GoingAway, "this relay is stopping");
            self.settle(number, Err(close));
        }
    }

    /// Queues, rates and deadlines of sessions that are there stay.
    pub(super) fn set_limits(&mut self, limits: Arc<Limits>) {
        self.directory.set_max_members(limits.room_members);
        self.shared.limits = limits;
    }

    /// Connections that have begun keep what they began with.
    pub(super) fn set_server(&mut self, config: Arc<ServerConfig>) {
        self.endpoint.set_server_config(Some(config.clone()));
        self.shared.server = config;
    }
}
