//! What a session does when time passes: it asks whether the client is there, ends what
//! is over, and tells what was summed up.

use std::time::Instant;

use quinn_proto::TimeSource;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Ping, relay_message};

use super::{Phase, Session};
use crate::access::Now;
use crate::conn::Close;
use crate::count::stats::ShardStats;
use crate::limits::Limits;

#[derive(Debug, Default)]
pub(super) struct PingState {
    number: u64,
    /// When the next one goes out, once in a room.
    pub(super) next: Option<Instant>,
    /// When the one that is out must have been answered.
    deadline: Option<Instant>,
}

impl Session {
    pub(crate) fn pong(&mut self, number: u64) {
        if number == self.ping.number {
            self.ping.deadline = None;
        }
    }

    /// When this session next has something to do.
    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        [self.conn.quic.poll_timeout(), self.next_deadline()].into_iter().flatten().min()
    }

    /// The same, apart from QUIC: when to call [`Self::handle_deadlines`].
    fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Handshaking { deadline }
            | Phase::AwaitingHello { deadline }
            | Phase::Authenticating { deadline, .. }
            | Phase::Joining { deadline } => Some(deadline),
            Phase::Ended => self.conn.forget_at,
            Phase::Joined(_) => {
                let (notice, feedback) = (self.notices.due(), self.feedback.due());
                let gone = Some(self.conn.gone_at());
                [self.ping.next, self.ping.deadline, feedback, notice, self.look, gone]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The session is over because the client was late.
    pub(crate) fn handle_deadlines(
        &mut self,
        now: Instant,
        limits: &Limits,
        clock: &dyn TimeSource,
        stats: &ShardStats,
    ) -> Result<(), Close> {
        match self.phase {
            // Not yet able to read a sentence; the shard counts it by itself.
            Phase::Handshaking { .. } | Phase::Ended => return Ok(()),
            // See `decides_late`.
            Phase::Authenticating { .. } => return Ok(()),
            Phase::AwaitingHello { deadline } if deadline <= now => {
                let text = format!("Hello did not come within {:?}", limits.hello_timeout);
                return Err(Close::new(CloseCode::HelloTimeout, text));
            }
            Phase::Joining { deadline } if deadline <= now => {
                let text = "the part of this relay that has the room did not answer; join again";
                return Err(Close::new(CloseCode::RelayFailed, text));
            }
            Phase::AwaitingHello { .. } | Phase::Joining { .. } => return Ok(()),
            Phase::Joined(_) => {}
        }
        if let Some(expires) = self.grant.expires
            && self.look.is_some_and(|look| look <= now)
        {
            let clocks = Now { steady: now, wall: clock.now() };
            if expires.is_over(clocks) {
                let text = "the token's time is over; join again with a new one";
                return Err(Close::new(CloseCode::TokenExpired, text));
            }
            self.look = expires.next_look(clocks);
        }
        if self.ping.deadline.is_some_and(|deadline| deadline <= now) {
            let text = format!("Ping was not answered within {:?}", limits.ping_timeout);
            return Err(Close::new(CloseCode::Unresponsive, text));
        }
        if self.ping.next.is_some_and(|next| next <= now) {
            self.ping.next = Some(now + limits.ping_interval);
            if self.ping.deadline.is_none() {
                self.ping.deadline = Some(now + limits.ping_timeout);
                self.ping.number += 1;
                self.conn.ask(now);
                self.conn.tell(relay_message::Message::Ping(Ping { number: self.ping.number }))?;
            }
        }
        let summed_up =
            self.vitals.as_mut().and_then(|vitals| self.feedback.take(now, &mut vitals.uplink));
        if let Some((feedback, exaggerated)) = summed_up {
            stats.reports_exaggerated.add(exaggerated);
            self.conn.tell(relay_message::Message::SenderFeedback(feedback))?;
        }
        if let Some(notice) = self.notices.take(now) {
            self.conn.tell(relay_message::Message::Notice(notice))?;
        }
        Ok(())
    }
}
