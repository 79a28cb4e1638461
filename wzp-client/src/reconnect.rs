//! Back into the room: whether, when, and for how long it is tried.

use std::pin::Pin;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep};
use wzp_proto::close::CloseCode;
use wzp_transport::address::RelayAddress;
use wzp_transport::join::{Ended, JoinError};

use crate::cli::Options;
use crate::session::{JoinFailure, Session};

/// Between the first two attempts, at most; twice as long between the next two.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Between two attempts, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the end of a session, or a refusal, means for the next attempt (section 4 of
/// the protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// It would be in vain, or against somebody's will.
    Never,
    /// Only with another token.
    WithNewToken,
    /// The room may still be there.
    Again,
    /// The relay has no place now.
    Later,
}

impl Advice {
    /// What an error of joining says about trying again.
    pub(crate) const fn after(error: &JoinError) -> Self {
        match error {
            JoinError::Trust(_) | JoinError::Protocol(_) => Self::Never,
            JoinError::Ended(ended) => Self::after_end(ended),
            JoinError::Resolve(_)
            | JoinError::Socket(_)
            | JoinError::Address(..)
            | JoinError::Unreachable(..)
            | JoinError::NoWelcome => Self::Again,
        }
    }

    const fn after_end(ended: &Ended) -> Self {
        match ended {
            Ended::Closed { code, .. } => Self::after_close(*code),
            Ended::Local | Ended::PinMismatch | Ended::Untrusted(_) | Ended::WrongProtocol => {
                Self::Never
            }
            Ended::Refused => Self::Later,
            Ended::TimedOut | Ended::Silent(_) | Ended::Unacknowledged(_) | Ended::Lost(_) => {
                Self::Again
            }
        }
    }

    const fn after_close(code: CloseCode) -> Self {
        match code {
            CloseCode::Done
            | CloseCode::Malformed
            | CloseCode::MessageTooLong
            | CloseCode::UnexpectedMessage
            | CloseCode::RoomFull
            | CloseCode::DatagramsRequired
            | CloseCode::TooManyMessages
            | CloseCode::BadToken
            | CloseCode::NotAllowed
            | CloseCode::Kicked => Self::Never,
            CloseCode::TokenExpired => Self::WithNewToken,
            // Only who is not heard loses its place so, and who reads this is back.
            CloseCode::Replaced
            | CloseCode::HelloTimeout
            | CloseCode::Unresponsive
            | CloseCode::RelayFailed => Self::Again,
            CloseCode::ServerFull
            | CloseCode::Draining
            | CloseCode::GoingAway
            | CloseCode::AuthUnavailable
            | CloseCode::Preempted => Self::Later,
        }
    }

    /// Whether there should be another attempt at all.
    pub(crate) fn permits(self, options: &Options, token: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Again | Self::Later => true,
            Self::WithNewToken => options.token.read().is_ok_and(|new| new != token),
        }
    }
}

/// How long to wait before an attempt: a random part of a span that grows, so that
/// those who lost the same relay do not come back all at once.
fn wait(attempt: u32, advice: Advice) -> Duration {
    let span = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_WAIT);
    let random = span.mul_f64(rand::rng().random_range(0.0..1.0));
    match advice {
        // A relay that said no is left alone for a while.
        Advice::Later => span / 2 + random / 2,
        _ => random,
    }
}

/// Why the last attempt failed, if there was none.
const NO_ATTEMPT: &str = "no attempt has come to an end";

/// An attempt under way, which gives what came of it.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Session, JoinFailure>> + 'a>>;

/// A session that was given up.
#[derive(Debug)]
pub(crate) struct Loss {
    /// Why the session ended.
    pub(crate) reason: String,
    /// How long before that nothing of what was sent was acknowledged.
    pub(crate) unacknowledged: Duration,
    /// How long before that nothing came any more.
    pub(crate) silent: Duration,
}

impl Loss {
    /// The last sign of life.
    fn since(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.silent).unwrap_or(now)
    }
}

/// The time between two sessions.
pub(crate) struct Away<'a> {
    options: &'a Options,
    relays: Vec<RelayAddress>,
    attempts: u32,
    attempt: Attempt<'a>,
    /// The last sign of life of the session before; none while a relay that stops is still there.
    pub(crate) since: Option<Instant>,
    /// Until when it is tried.
    pub(crate) until: Instant,
    /// Why the session before ended.
    pub(crate) reason: String,
    /// How long before it was given up nothing of what was sent was acknowledged.
    pub(crate) unacknowledged: Duration,
    /// How long before it was given up nothing came any more.
    pub(crate) silent: Duration,
    /// Why the last attempt failed.
    pub(crate) last: String,
}

impl<'a> Away<'a> {
    /// The session is lost, after so many that were lost soon.
    pub(crate) fn lost(
        options: &'a Options,
        advice: Advice,
        short_sessions: u32,
        loss: Loss,
    ) -> Self {
        let first = wait(short_sessions.saturating_sub(1), advice);
        let attempt = attempt(options, options.relays.clone(), first);
        Self {
            options,
            relays: options.relays.clone(),
            attempts: short_sessions.max(1),
            attempt,
            since: Some(loss.since()),
            until: Instant::now() + options.reconnect_for,
            reason: loss.reason,
            unacknowledged: loss.unacknowledged,
            silent: loss.silent,
            last: NO_ATTEMPT.to_owned(),
        }
    }

    /// The relay is going to stop at that time; there are others.
    pub(crate) fn draining(
        options: &'a Options,
        relays: Vec<RelayAddress>,
        until: Instant,
        reason: String,
    ) -> Self {
        let left = until.saturating_duration_since(Instant::now());
        let attempt = attempt(options, relays.clone(), wait(1, Advice::Again).min(left / 2));
        Self {
            options,
            relays,
            attempts: 1,
            attempt,
            since: None,
            until,
            reason,
            unacknowledged: Duration::ZERO,
            silent: Duration::ZERO,
            last: NO_ATTEMPT.to_owned(),
        }
    }

    /// The relay that was going to stop has ended the session.
    pub(crate) fn session_lost(&mut self, loss: Loss) {
        self.since = Some(loss.since());
        self.until = Instant::now() + self.options.reconnect_for;
        self.relays = self.options.relays.clone();
        self.reason = loss.reason;
        self.unacknowledged = loss.unacknowledged;
        self.silent = loss.silent;
    }

    /// What came of the attempt. Safe to drop while waiting.
    pub(crate) async fn attempted(&mut self) -> Result<Session, JoinFailure> {
        (&mut self.attempt).await
    }

    /// The attempt has failed: another, after a time that is returned.
    pub(crate) fn again(&mut self, advice: Advice, why: String) -> Duration {
        self.last = why;
        let wait = wait(self.attempts, advice);
        self.attempts = self.attempts.saturating_add(1);
        self.attempt = attempt(self.options, self.relays.clone(), wait);
        wait
    }
}

fn attempt(options: &Options, relays: Vec<RelayAddress>, wait: Duration) -> Attempt<'_> {
    Box::pin(async move {
        sleep(wait).await;
        Session::enter(options, &relays).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_the_advice_of_the_protocol() {
        use Advice::{Again, Later, Never, WithNewToken};
        let expected = [
            Never,
            Never,
            Never,
            Never,
            Again,
            Never,
            Later,
            Later,
            Later,
            Again,
            Never,
            Never,
            Never,
            WithNewToken,
            Never,
            Later,
            Never,
            Later,
            Again,
            Again,
        ];
        for (code, advice) in CloseCode::ALL.iter().zip(expected) {
            assert_eq!(Advice::after_close(*code), advice, "{}", code.name());
        }
        assert_eq!(CloseCode::ALL.len(), expected.len());
        let lost = |text: &str| Ended::Lost(text.to_owned());
        let ends = [
            (Ended::TimedOut, Again),
            (Ended::Silent(Duration::from_secs(5)), Again),
            (Ended::Unacknowledged(Duration::from_secs(20)), Again),
            (lost("the relay no longer knows this session"), Again),
            (Ended::Refused, Later),
            (Ended::PinMismatch, Never),
            (Ended::WrongProtocol, Never),
        ];
        for (end, advice) in ends {
            assert_eq!(Advice::after(&end.clone().into()), advice, "{end}");
        }
    }

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        for attempt in [0, 1, 2, 3, 4, 31, 32, u32::MAX] {
            let bound = FIRST_WAIT * 2_u32.pow(attempt.min(4));
            let bound = bound.min(LONGEST_WAIT);
            let waits: Vec<_> = (0..100).map(|_| wait(attempt, Advice::Again)).collect();
            assert!(waits.iter().all(|wait| *wait < bound), "attempt {attempt}");
            assert!(waits.iter().any(|wait| *wait > bound / 2), "attempt {attempt}");
            assert!(waits.iter().any(|wait| *wait < bound / 2), "attempt {attempt}");
            assert!((0..100).all(|_| wait(attempt, Advice::Later) >= bound / 2));
        }
    }
}
