//! Leaves a service alone that does not answer, so that participants are told at
//! once and the service can recover; and finds out when it is back.
//!
//! Strangers can make a service fail, by what they send. So failures count per
//! source, and a source once: one that fails again and again is paused by itself;
//! the breaker opens only when many sources have failed and none was answered since.
//! While it is open, sources that have not failed try the service right away, a few
//! at a time, so that who opened it keeps nobody else out; those that have failed
//! try it again after the pause, and take nobody's place.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::source::Source;
use super::time::after;

/// Sources that try an open breaker at a time.
const TRIES: usize = 8;

/// Sources with failures that are remembered; the one whose pause ends first makes
/// way.
const MOST_SOURCES: usize = 4096;

/// The breaker opens for two sources at least: one alone is no outage.
const LEAST_SOURCES: u32 = 2;

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// They are made.
    Closed,
    /// None is made but tries.
    Open,
    /// Tries are on their way.
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

/// Whether a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes. Its outcome must be told.
    Go,
    /// Not before others have tried the service.
    Wait,
    /// No: the source has failed.
    Paused,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service decided.
    Answered,
    /// It did not answer: no connection, no answer in time, an error of its own.
    Failed,
    /// It answered something else, which says nothing about how it is.
    Odd,
}

/// The breaker of one service.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that pause a source, and sources that open the breaker.
    threshold: u32,
    /// For how long a source is paused.
    pause: Duration,
    is_open: bool,
    /// Sources that have failed since the last answer.
    failed: u32,
    /// Answers so far: tells failures since the last one from older ones.
    answers: u64,
    sources: HashMap<Source, Failures>,
    /// Sources that have not failed and whose tries of an open breaker are on their
    /// way.
    tries: HashSet<Source>,
    /// Sources that have failed and whose tries after the pause are.
    retries: HashSet<Source>,
}

/// The failures of a source since it was last answered.
#[derive(Debug)]
struct Failures {
    in_a_row: u32,
    /// [`Breaker::answers`] at the last one.
    answers: u64,
    /// When the pause after the last one ends.
    until: Instant,
}

impl Breaker {
    pub(super) fn new(threshold: u32, pause: Duration) -> Self {
        Self {
            threshold,
            pause,
            is_open: false,
            failed: 0,
            answers: 0,
            sources: HashMap::new(),
            tries: HashSet::new(),
            retries: HashSet::new(),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        if !self.is_open {
            BreakerState::Closed
        } else if self.tries.is_empty() && self.retries.is_empty() {
            BreakerState::Open
        } else {
            BreakerState::HalfOpen
        }
    }

    /// Whether the source may not make a request, whoever else does.
    pub(super) fn pauses(&self, source: Source, now: Instant) -> bool {
        let until = self.pause_of(source);
        until.is_some_and(|until| now < until || self.retries.contains(&source))
    }

    /// Whether the source may make a request now.
    pub(super) fn admit(&mut self, source: Source, now: Instant) -> Admission {
        if self.pauses(source, now) {
            return Admission::Paused;
        }
        if self.pause_of(source).is_some() {
            self.retries.insert(source);
        } else if self.is_open {
            if self.tries.contains(&source) || self.tries.len() >= TRIES {
                return Admission::Wait;
            }
            self.tries.insert(source);
        }
        Admission::Go
    }

    /// Told of each request that was made. Whether that opened the breaker.
    pub(super) fn tell(&mut self, source: Source, outcome: Outcome, now: Instant) -> bool {
        self.tries.remove(&source);
        self.retries.remove(&source);
        match outcome {
            Outcome::Odd => false,
            Outcome::Answered => {
                self.sources.remove(&source);
                self.answers = self.answers.wrapping_add(1);
                (self.is_open, self.failed) = (false, 0);
                false
            }
            Outcome::Failed => {
                self.fail(source, now);
                let opens = !self.is_open && self.failed >= self.threshold.max(LEAST_SOURCES);
                self.is_open |= opens;
                opens
            }
        }
    }

    fn fail(&mut self, source: Source, now: Instant) {
        let until = after(now, self.pause);
        let before = self.sources.get(&source);
        if before.is_none_or(|before| before.answers != self.answers) {
            self.failed = self.failed.saturating_add(1);
        }
        let in_a_row = before.map_or(0, |before| before.in_a_row).saturating_add(1);
        if before.is_none() && self.sources.len() >= MOST_SOURCES {
            let first = self.sources.iter().min_by_key(|(_, failures)| failures.until);
            if let Some(source) = first.map(|(source, _)| *source) {
                self.sources.remove(&source);
            }
        }
        self.sources.insert(source, Failures { in_a_row, answers: self.answers, until });
    }

    /// When the pause of the source ends, or has ended; `None` if it has none.
    fn pause_of(&self, source: Source) -> Option<Instant> {
        let failures = self.sources.get(&source)?;
        let opened = self.is_open && failures.answers == self.answers;
        (opened || failures.in_a_row >= self.threshold).then_some(failures.until)
    }
}

#[cfg(test)]
mod tests {
    use super::Admission::{Go, Paused, Wait};
    use super::Outcome::{Answered, Failed, Odd};
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn source(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    /// A breaker of 3 that the sources 1 to 3 have opened.
    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, PAUSE);
        let opens = [1, 2, 3].map(|number| breaker.tell(source(number), Failed, now));
        assert_eq!((opens, breaker.state()), ([false, false, true], BreakerState::Open));
        breaker
    }

    #[test]
    fn a_source_that_fails_again_and_again_is_paused_and_nobody_else() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        let (stranger, other) = (source(1), source(2));
        for _ in 0..100 {
            assert!(!breaker.tell(stranger, Failed, now));
        }
        assert_eq!((breaker.admit(stranger, now), breaker.admit(other, now)), (Paused, Go));
        assert_eq!(breaker.state(), BreakerState::Closed);
        let later = now + PAUSE;
        assert_eq!(breaker.admit(stranger, later), Go, "one try");
        assert_eq!(breaker.admit(stranger, later), Paused, "and only one");
        breaker.tell(stranger, Failed, later);
        assert_eq!(breaker.admit(stranger, later + PAUSE / 2), Paused);
        assert_eq!(breaker.admit(stranger, later + PAUSE), Go);
        breaker.tell(stranger, Answered, later + PAUSE);
        assert_eq!([(); 3].map(|()| breaker.admit(stranger, later + PAUSE)), [Go; 3]);
    }

    #[test]
    fn failures_count_in_a_row_and_a_source_once() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        assert!(!breaker.tell(source(1), Failed, now) && !breaker.tell(source(1), Failed, now));
        assert!(!breaker.tell(source(2), Failed, now));
        breaker.tell(source(9), Answered, now);
        assert!(!breaker.tell(source(2), Failed, now) && !breaker.tell(source(3), Failed, now));
        breaker.tell(source(4), Odd, now);
        assert!(breaker.tell(source(1), Failed, now), "the third since the answer");
        let mut one = Breaker::new(1, PAUSE);
        assert!(!one.tell(source(1), Failed, now), "one alone never opens it");
        assert!(one.tell(source(2), Failed, now));
    }

    #[test]
    fn whoever_opened_it_keeps_nobody_else_out() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!([1, 2, 3].map(|number| breaker.admit(source(number), now)), [Paused; 3]);
        assert_eq!(breaker.admit(source(4), now), Go, "at once, not after the pause");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(source(4), now), Wait, "its own try tells");
        breaker.tell(source(4), Answered, now);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!([1, 4].map(|number| breaker.admit(source(number), now)), [Go; 2]);
    }

    #[test]
    fn an_open_breaker_is_tried_by_few_at_a_time() {
        let now = Instant::now();
        let mut breaker = opened(now);
        // Those that have failed wait for nobody, and take nobody's place.
        assert_eq!([1, 2].map(|number| breaker.admit(source(number), now + PAUSE)), [Go; 2]);
        let tries = u32::try_from(TRIES).unwrap();
        assert!((10..10 + tries).all(|number| breaker.admit(source(number), now) == Go));
        assert_eq!(breaker.admit(source(99), now), Wait);
        breaker.tell(source(10), Failed, now);
        assert_eq!(breaker.admit(source(10), now), Paused);
        assert_eq!(breaker.admit(source(99), now), Go);
        assert_eq!(breaker.admit(source(3), now + PAUSE), Go);
        breaker.tell(source(1), Odd, now + PAUSE);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "which says nothing");
    }

    #[test]
    fn failures_are_remembered_of_so_many_sources() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        let most = u32::try_from(MOST_SOURCES).unwrap();
        for number in 0..2 * most {
            breaker.tell(source(number), Failed, now + Duration::from_millis(number.into()));
        }
        assert_eq!(breaker.sources.len(), MOST_SOURCES);
        assert!(breaker.pause_of(source(2 * most - 1)).is_some());
        assert!(breaker.pause_of(source(0)).is_none());
    }

    #[test]
    fn states_are_found_by_their_numbers() {
        for state in BreakerState::ALL {
            assert_eq!(BreakerState::ALL[state as usize], state);
        }
    }
}
