//! Leaves a service alone that does not answer, so that participants are told
//! at once and the service can recover; and finds out when it is back.

use std::time::{Duration, Instant};

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// They are made.
    Closed,
    /// None is made.
    Open,
    /// One is on its way to try the service; no other is made.
    HalfOpen,
}

impl BreakerState {
    /// All states, each at the place of its number.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The value of the metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker of one service.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Opens after so many failures in a row.
    threshold: u32,
    /// Stays open for so long.
    pause: Duration,
    state: BreakerState,
    failures: u32,
    /// When it may be tried again, while open.
    until: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(threshold: u32, pause: Duration) -> Self {
        Self { threshold, pause, state: BreakerState::Closed, failures: 0, until: None }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a request may be made. Its outcome must be told.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if self.state == BreakerState::Open && self.until.is_none_or(|until| until <= now) {
            self.state = BreakerState::HalfOpen;
            return true;
        }
        self.state == BreakerState::Closed
    }

    /// The service answered.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
    }

    /// The service did not answer. Whether that opened the breaker.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = self.state == BreakerState::HalfOpen
            || (self.state == BreakerState::Closed && self.failures >= self.threshold);
        if opens {
            self.state = BreakerState::Open;
            self.until = Some(now + self.pause);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn opens_after_failures_in_a_row_and_closes_with_a_good_try() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        assert!(!breaker.failed(now) && !breaker.failed(now));
        breaker.succeeded();
        assert!(!breaker.failed(now) && !breaker.failed(now), "not in a row");
        assert!(breaker.admits(now) && breaker.failed(now), "the third opens it");
        assert!(!breaker.admits(now + PAUSE / 2));
        // Requests that were on their way do not prolong it.
        assert!(!breaker.failed(now + PAUSE / 2));

        let later = now + PAUSE;
        assert!(breaker.admits(later), "one may try");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.admits(later), "and only one");
        assert!(breaker.failed(later), "in vain");
        assert!(!breaker.admits(later + PAUSE / 2));
        assert!(breaker.admits(later + PAUSE));
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(!breaker.failed(later + PAUSE), "counts anew");
    }

    #[test]
    fn states_are_found_by_their_numbers() {
        for state in BreakerState::ALL {
            assert_eq!(BreakerState::ALL[state as usize], state);
        }
    }
}
