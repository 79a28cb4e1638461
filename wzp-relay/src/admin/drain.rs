//! Whether the relay drains, until when, and whether it ends then. Orders and
//! the time go in; it reads no clock and tells nobody.

use std::time::{Duration, Instant};

use thiserror::Error;

/// After the deadline, to repeat CONNECTION_CLOSE where it was lost.
const GRACE: Duration = Duration::from_secs(1);

/// What the relay does once nobody is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays, taking nobody in, until the drain is taken back or it is told
    /// to end.
    Stay,
    /// It ends, unless the drain is taken back before.
    Exit,
    /// It ends: a signal said so, and whoever sent it counts on that.
    ExitForGood,
}

/// A drain under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// When those who are left are closed.
    pub deadline: Instant,
    /// What comes after.
    pub then: Then,
}

/// What a signal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// A drain until then.
    Drains(Instant),
    /// The end at once: it was not the first signal.
    EndsAtOnce,
}

/// Why an order was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DrainError {
    /// Whoever sent the signal waits for the end.
    #[error(
        "the relay was told to end by a signal, which cannot be taken back; start it again instead"
    )]
    ForGood,
    /// There is nothing to take back.
    #[error("the relay is not draining")]
    NotDraining,
}

/// The drain's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain(Option<Draining>);

impl Drain {
    /// An operator's order. It replaces the operator's order before.
    ///
    /// # Errors
    /// [`DrainError::ForGood`].
    pub fn order(
        &mut self,
        now: Instant,
        patience: Duration,
        exit: bool,
    ) -> Result<Instant, DrainError> {
        self.refuse_for_good()?;
        let deadline = now + patience;
        let then = if exit { Then::Exit } else { Then::Stay };
        self.0 = Some(Draining { deadline, then });
        Ok(deadline)
    }

    /// SIGTERM or SIGINT. Nobody gets more time by it than an operator's drain
    /// has left them.
    pub fn signal(&mut self, now: Instant, patience: Duration) -> Signalled {
        let deadline = now + patience;
        let deadline = match self.0 {
            Some(Draining { then: Then::ExitForGood, .. }) => return Signalled::EndsAtOnce,
            Some(under_way) => under_way.deadline.min(deadline),
            None => deadline,
        };
        self.0 = Some(Draining { deadline, then: Then::ExitForGood });
        Signalled::Drains(deadline)
    }

    /// Takes an operator's drain back, also after its deadline.
    ///
    /// # Errors
    /// Any [`DrainError`].
    pub fn take_back(&mut self) -> Result<(), DrainError> {
        self.refuse_for_good()?;
        self.0.take().map(|_| ()).ok_or(DrainError::NotDraining)
    }

    /// The drain under way.
    pub fn draining(&self) -> Option<Draining> {
        self.0
    }

    /// When the relay ends though somebody is left; `None` while it is to stay.
    /// It may end as soon as nobody is.
    pub fn ends_by(&self) -> Option<Instant> {
        let ends = |draining: &Draining| draining.then != Then::Stay;
        self.0.filter(ends).map(|draining| draining.deadline + GRACE)
    }

    fn refuse_for_good(&self) -> Result<(), DrainError> {
        match self.0 {
            Some(Draining { then: Then::ExitForGood, .. }) => Err(DrainError::ForGood),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_order_stays_or_ends_and_can_be_taken_back_at_any_time() {
        let now = Instant::now();
        for exit in [false, true] {
            let mut drain = Drain::default();
            assert_eq!(drain.take_back(), Err(DrainError::NotDraining));
            assert_eq!(drain.order(now, MINUTE, exit), Ok(now + MINUTE));
            assert_eq!(drain.ends_by(), exit.then_some(now + MINUTE + GRACE));
            assert_eq!(drain.take_back(), Ok(()));
            assert_eq!(drain, Drain::default());
        }
    }

    #[test]
    fn the_last_order_counts() {
        let now = Instant::now();
        let mut drain = Drain::default();
        drain.order(now, MINUTE, true).unwrap();
        drain.order(now, 2 * MINUTE, false).unwrap();
        assert_eq!(
            drain.draining(),
            Some(Draining { deadline: now + 2 * MINUTE, then: Then::Stay })
        );
        assert_eq!(drain.ends_by(), None);
    }

    #[test]
    fn a_signal_is_for_good_and_a_second_one_ends_at_once() {
        let now = Instant::now();
        let mut drain = Drain::default();
        assert_eq!(drain.signal(now, MINUTE), Signalled::Drains(now + MINUTE));
        assert_eq!(drain.take_back(), Err(DrainError::ForGood));
        assert_eq!(drain.order(now, MINUTE, false), Err(DrainError::ForGood));
        assert_eq!(drain.ends_by(), Some(now + MINUTE + GRACE));
        assert_eq!(drain.signal(now, MINUTE), Signalled::EndsAtOnce);
    }

    /// What `ExecStop=` or a preStop hook leads to: an order, then the signal.
    #[test]
    fn a_signal_after_an_order_gives_nobody_more_time() {
        let now = Instant::now();
        for (ordered, expected) in [(MINUTE / 2, MINUTE / 2), (2 * MINUTE, MINUTE)] {
            let mut drain = Drain::default();
            drain.order(now, ordered, false).unwrap();
            assert_eq!(drain.signal(now, MINUTE), Signalled::Drains(now + expected));
        }
    }
}
