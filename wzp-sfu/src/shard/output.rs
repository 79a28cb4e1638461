//! What leaves a shard but for packets: one queue, which whoever runs it empties after
//! each turn.

use std::collections::VecDeque;

use super::Shard;
use super::event::Event;
use crate::access::AuthRequest;
use crate::ids::ShardIndex;
use crate::mail::Mail;

/// One thing for somebody outside.
#[derive(Debug)]
pub enum Output {
    /// For another shard.
    Mail(ShardIndex, Mail),
    /// Who may join is to be decided ([`AuthRequest::answer`]), and the answer sent as
    /// [`ControlMail::Authenticated`](crate::mail::ControlMail::Authenticated).
    Question(AuthRequest),
    /// For whoever watches: accounts, the audit log, those who follow.
    Event(Event),
}

impl Shard {
    /// The next thing for somebody outside, in the order in which they came to be.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Has mail delivered, by the shard itself if it is for it.
    pub(super) fn post(&mut self, to: ShardIndex, mail: impl Into<Mail>) {
        if to == self.index {
            self.own_mail.push_back(mail.into());
        } else {
            self.outputs.push_back(Output::Mail(to, mail.into()));
        }
    }

    /// The one way for an event out of the packet path.
    pub(super) fn emit(&mut self, event: Event) {
        let since_start = self.now.saturating_duration_since(self.shared.start);
        event.log(&self.lines, since_start);
        event.count(&self.stats, &self.shared.sessions.distributions);
        if event.is_told() {
            self.outputs.push_back(Output::Event(event));
        }
    }
}

/// Outputs in order.
pub(super) type Outputs = VecDeque<Output>;
