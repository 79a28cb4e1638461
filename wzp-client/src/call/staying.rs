//! How a call stays in its room: what it does when a session is lost, when its relay
//! is going to stop, and when there is another session.

use std::time::Duration;

use tokio::time::Instant;
use wzp_command::thousandths;
use wzp_proto::control::Draining;
use wzp_transport::address::RelayAddress;
use wzp_transport::join::{Ended, JoinError};

use super::{Call, Stage};
use crate::exit::Failure;
use crate::reconnect::{Advice, Away, Loss};
use crate::session::{JoinFailure, Session};
use crate::summary::Interruption;

/// A draining relay is left so long before its deadline: it should see a
/// participant leave, not one that it has to disconnect.
const BEFORE_DEADLINE: Duration = Duration::from_millis(250);

/// A session that was lost before that was a short one.
const SOON: Duration = Duration::from_secs(20);

/// An answer to a question, if it or the question has to be repeated.
const ROUND_TRIPS: u32 = 3;

/// Interruptions in the summary; of a call of months, the latest.
const MAX_INTERRUPTIONS: usize = 100;

impl Call<'_> {
    /// The session is lost: the end of the call, or the beginning of another attempt.
    pub(super) fn lost(&mut self, error: JoinError) -> Result<(), Failure> {
        let error = self.session.why(error);
        let advice = Advice::after(&error);
        // Who has nothing more to say need not come back to say it.
        let goes_on = !self.options.no_reconnect
            && !matches!(self.stage, Stage::Lingering(_))
            && advice.permits(self.options, &self.session.token);
        let failure = self.loss(error);
        if !goes_on {
            return Err(failure);
        }
        let silent = self.session.pulse.look();
        self.go_away(advice, failure.to_string(), silent);
        Ok(())
    }

    /// What the end of the session is, if it is the end of the call.
    pub(super) fn loss(&self, error: JoinError) -> Failure {
        Failure::Lost {
            relay: self.session.relay.to_string(),
            after: self.joined_at.elapsed(),
            source: Box::new(error),
        }
    }

    /// A relay that receives nothing any more has lost the session, or is about to.
    pub(super) fn check_delivery(&mut self) -> Result<(), Failure> {
        match self.session.delivery.look() {
            told if told.is_lost() => self.lost(Ended::Unacknowledged(told.waits).into()),
            _ => Ok(()),
        }
    }

    /// A relay of which nothing is heard is gone, or the way to it is.
    pub(super) fn check_pulse(&mut self) -> Result<(), Failure> {
        let silent = self.session.pulse.look();
        let patience = self.options.lost_after + self.session.connection.rtt() * ROUND_TRIPS;
        if silent < patience {
            return Ok(());
        }
        self.lost(Ended::Silent(silent).into())
    }

    /// There is no session any more, and nothing has come over it for so long; another one
    /// is tried for.
    pub(super) fn go_away(&mut self, advice: Advice, reason: String, silent: Duration) {
        self.terminal.warning(format_args!("{reason}; joining again"));
        let unacknowledged = self.session.delivery.look().waits;
        let loss = Loss { reason, unacknowledged, silent };
        self.session.part();
        self.playout.lost(&self.session.members);
        // A session that was soon lost is no reason to begin with short waits again.
        let lasted = self.session.entered.elapsed() > SOON;
        self.short_sessions = if lasted { 0 } else { self.short_sessions.saturating_add(1) };
        match &mut self.away {
            // An attempt at another relay goes on.
            Some(away) => away.session_lost(loss),
            None => {
                let away = Away::lost(self.options, advice, self.short_sessions, loss);
                self.away = Some(away);
            }
        }
    }

    /// What came of an attempt to join again.
    pub(super) fn attempted(
        &mut self,
        attempted: Result<Session, JoinFailure>,
    ) -> Result<(), Failure> {
        match attempted {
            Ok(session) => self.moved(session),
            Err(failure) => self.failed(failure),
        }
    }

    /// Tries again, or not.
    fn failed(&mut self, failure: JoinFailure) -> Result<(), Failure> {
        let advice = match &failure {
            JoinFailure::Token(_) => Advice::Again,
            JoinFailure::Join(error) => Advice::after(error),
        };
        let Some(away) = &mut self.away else { return Ok(()) };
        if advice.permits(self.options, &self.session.token) {
            let failure = failure.to_string();
            let wait = away.again(advice, failure.clone()).as_secs_f64();
            let text = format!("cannot join again yet: {failure}; next attempt in {wait:.1} s");
            self.terminal.event(text);
            return Ok(());
        }
        if away.since.is_none() {
            self.terminal.warning(format_args!("cannot join another relay: {failure}"));
            self.away = None;
            return Ok(());
        }
        Err(failure.of_call(self.options))
    }

    /// It was tried for long enough.
    pub(super) fn given_up(&self) -> Failure {
        let away = self.away.as_ref();
        let (lost, last) =
            away.map_or_else(Default::default, |away| (away.reason.clone(), away.last.clone()));
        Failure::GivenUp { lost, tried: self.options.reconnect_for, last }
    }

    /// In the room again, at the same relay or another.
    fn moved(&mut self, session: Session) -> Result<(), Failure> {
        let Some(away) = self.away.take() else { return Ok(()) };
        let Session { room_members, sender_id, .. } = session;
        let before = std::mem::replace(&mut self.session, session);
        let took = away.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.playout.moved(&before.members, room_members, sender_id);
        self.interruptions.push(Interruption {
            relay: before.relay.to_string(),
            at_seconds: thousandths((self.joined_at.elapsed() - took).as_secs_f64()),
            seconds: thousandths(took.as_secs_f64()),
            unacknowledged_seconds: thousandths(
                away.unacknowledged.saturating_sub(away.silent).as_secs_f64(),
            ),
            reason: away.reason,
        });
        let surplus = self.interruptions.len().saturating_sub(MAX_INTERRUPTIONS);
        self.interruptions.drain(..surplus);
        if away.since.is_none() {
            before.leave_behind();
        }
        if let Some(sending) = &mut self.sending {
            sending.moved(self.session.connection.clone(), sender_id)?;
            if matches!(self.stage, Stage::Sending) {
                sending.start();
            }
        }
        self.announce(&format!("after {:.1} s again in", took.as_secs_f64()));
        self.begin_if_complete();
        Ok(())
    }

    /// The relay is going to stop.
    pub(super) fn draining(&mut self, draining: Draining) {
        let deadline = Duration::from_millis(draining.deadline_ms.into());
        let until = Instant::now() + deadline.saturating_sub(BEFORE_DEADLINE);
        self.session.drain_at = Some(until);
        let others = self.options.relays.iter().filter(|relay| **relay != self.session.relay);
        let others: Vec<RelayAddress> = others.cloned().collect();
        let moves = !self.options.no_reconnect && !others.is_empty();
        self.terminal.warning(format_args!(
            "the relay is going to stop within {:.1} s; {}",
            deadline.as_secs_f64(),
            match moves {
                true => "joining another",
                false if self.options.no_reconnect => "join another relay",
                false => "joining again when it has",
            }
        ));
        if moves && self.away.is_none() {
            let reason = "it was going to stop".to_owned();
            self.away = Some(Away::draining(self.options, others, until, reason));
        }
    }

    /// It is not, after all.
    pub(super) fn resumed(&mut self) {
        self.session.drain_at = None;
        self.away = None;
        // Who stays for a given time was only going to leave because of the relay.
        if matches!(self.stage, Stage::Lingering(_)) && self.options.duration.is_some() {
            self.stage = Stage::Staying;
        }
        self.terminal.event(format_args!("the relay goes on; there is no need to leave it"));
    }
}
