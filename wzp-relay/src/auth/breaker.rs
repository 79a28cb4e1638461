//! Leaves a service alone that does not answer, so that participants are told at
//! once and the service can recover; and finds out when it is back.
//!
//! Strangers can make a service fail, by what they send. So failures count per
//! source, and a source once: one that fails again and again is paused by itself;
//! the breaker opens only when many sources have failed and none was answered since.
//! While it is open, sources that have not failed try the service right away, so that
//! who opened it keeps nobody else out. Those that have failed have places of their
//! own, few of all, open or not: they take nobody's. An answer to one of them, or to
//! somebody else, says nothing about the others.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::shares::Shares;
use super::source::Source;
use wzp_sfu::access::after;

/// One of so many requests at a time may be a try of an open breaker: half of what a
/// service that works is asked. Shared out among networks.
const TRIES: usize = 2;

/// The same of sources that have failed, whether it is open or not.
const RETRIES: usize = 4;

/// For so many pauses a source is taken for one that has failed, unless it is answered.
const MEMORY: u32 = 10;

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
    trying: HashSet<Source>,
    /// Places for these, held by their networks.
    tries: Shares,
    /// Places for requests of sources that have failed.
    retries: Shares,
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
    /// For a service that is asked `concurrent` times at a time, at most.
    pub(super) fn new(threshold: u32, pause: Duration, concurrent: usize) -> Self {
        Self {
            threshold,
            pause,
            is_open: false,
            failed: 0,
            answers: 0,
            sources: HashMap::new(),
            trying: HashSet::new(),
            tries: Shares::new(concurrent.div_ceil(TRIES)),
            retries: Shares::new(concurrent.div_ceil(RETRIES)),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        if !self.is_open {
            BreakerState::Closed
        } else if self.tries.are_all_free() && self.retries.are_all_free() {
            BreakerState::Open
        } else {
            BreakerState::HalfOpen
        }
    }

    /// Whether the source may not make a request, whoever else does.
    fn pauses(&self, source: Source, now: Instant) -> bool {
        let Some(failures) = self.failures(source, now) else { return false };
        let is_paused = self.is_open || failures.in_a_row >= self.threshold;
        is_paused && (now < failures.until || self.retries.held_by(source) > 0)
    }

    /// Whether the source may make a request now, if it does so at once.
    pub(super) fn look(&self, source: Source, now: Instant) -> Admission {
        if self.pauses(source, now) {
            return Admission::Paused;
        }
        let may = if self.failures(source, now).is_some() {
            self.retries.has_one_for(source)
        } else {
            let has_try = self.tries.has_one_for(source.network());
            !self.is_open || (has_try && !self.trying.contains(&source))
        };
        if may { Admission::Go } else { Admission::Wait }
    }

    /// The same, and the request is made if it may.
    pub(super) fn admit(&mut self, source: Source, now: Instant) -> Admission {
        let admission = self.look(source, now);
        if admission == Admission::Go {
            if self.failures(source, now).is_some() {
                self.retries.take(source);
            } else if self.is_open {
                self.tries.take(source.network());
                self.trying.insert(source);
            }
        }
        admission
    }

    /// Told of each request that was made. Whether that opened the breaker.
    pub(super) fn tell(&mut self, source: Source, outcome: Outcome, now: Instant) -> bool {
        if self.trying.remove(&source) {
            self.tries.give_back(source.network());
        }
        self.retries.give_back(source);
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

    /// Those that are still held against the source.
    fn failures(&self, source: Source, now: Instant) -> Option<&Failures> {
        let memory = self.pause.saturating_mul(MEMORY);
        self.sources.get(&source).filter(|failures| now < after(failures.until, memory))
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

    /// One of many, each in a network of its own.
    fn far(number: u32) -> Source {
        source(number << 8)
    }

    /// As many requests at a time as by default.
    fn breaker(threshold: u32) -> Breaker {
        Breaker::new(threshold, PAUSE, 64)
    }

    /// A breaker of 3 that the sources 1 to 3 have opened.
    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker(3);
        let opens = [1, 2, 3].map(|number| breaker.tell(source(number), Failed, now));
        assert_eq!((opens, breaker.state()), ([false, false, true], BreakerState::Open));
        breaker
    }

    #[test]
    fn a_source_that_fails_again_and_again_is_paused_and_nobody_else() {
        let now = Instant::now();
        let mut breaker = breaker(3);
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
        let mut breaker = breaker(3);
        assert!(!breaker.tell(source(1), Failed, now) && !breaker.tell(source(1), Failed, now));
        assert!(!breaker.tell(source(2), Failed, now));
        breaker.tell(source(9), Answered, now);
        assert!(!breaker.tell(source(2), Failed, now) && !breaker.tell(source(3), Failed, now));
        breaker.tell(source(4), Odd, now);
        assert!(breaker.tell(source(1), Failed, now), "the third since the answer");
        let mut one = Breaker::new(1, PAUSE, 64);
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

    /// How many of these are let through, one after the other, and none ends.
    fn let_through(breaker: &mut Breaker, sources: impl Iterator<Item = Source>) -> usize {
        let now = Instant::now();
        sources.filter(|source| breaker.admit(*source, now) == Go).count()
    }

    #[test]
    fn an_open_breaker_is_tried_by_half_of_what_may_be_asked() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(let_through(&mut breaker, (10..100).map(far)), 32);
        assert_eq!(breaker.admit(far(200), now), Wait);
        breaker.tell(far(10), Failed, now);
        assert_eq!(breaker.admit(far(10), now), Paused);
        assert_eq!(breaker.admit(far(200), now), Go);
        // Those that have failed wait for none of these.
        assert_eq!(breaker.admit(source(3), now + PAUSE), Go);
        breaker.tell(source(3), Odd, now + PAUSE);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "which says nothing");
    }

    #[test]
    fn many_addresses_of_one_network_leave_tries_to_others() {
        let now = Instant::now();
        let household = |number: u32| {
            let ip = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, (number << 8) as u16, 0, 0, 0, 1);
            Source::of(ip.into())
        };
        for strangers in
            [(0..250).map(household).collect::<Vec<_>>(), (0..250).map(source).collect()]
        {
            let mut breaker = breaker(3);
            for number in 1000..1003 {
                breaker.tell(far(number), Failed, now);
            }
            assert_eq!(let_through(&mut breaker, strangers.iter().copied()), 7);
            assert_eq!(let_through(&mut breaker, (2000..2010).map(far)), 10);
        }
    }

    #[test]
    fn an_answer_to_one_makes_no_others_that_have_failed_as_good_as_new() {
        let now = Instant::now();
        let mut breaker = breaker(5);
        for number in 0..1000 {
            breaker.tell(far(number), Failed, now);
        }
        breaker.tell(far(5000), Answered, now);
        assert_eq!(breaker.state(), BreakerState::Closed);
        // Closed, they have a quarter of what may be asked, and the others all.
        assert_eq!(let_through(&mut breaker, (0..1000).map(far)), 16);
        assert_eq!(let_through(&mut breaker, (5000..5100).map(far)), 100);
        for number in 0..16 {
            breaker.tell(far(number), Failed, now);
        }
        assert_eq!(breaker.state(), BreakerState::Open, "by these");
        // Open, none of them takes a try, in the pause or after it.
        for now in [now, now + PAUSE] {
            for number in 0..1000 {
                breaker.admit(far(number), now);
            }
            assert_eq!(breaker.admit(far(6000), now), Go);
            breaker.tell(far(6000), Odd, now);
        }
    }

    #[test]
    fn one_that_has_failed_has_what_it_leaves_to_others_until_it_is_answered() {
        let now = Instant::now();
        let mut breaker = breaker(5);
        let office = source(1);
        breaker.tell(office, Failed, now);
        assert_eq!([(); 5].map(|()| breaker.admit(office, now)), [Go, Go, Go, Go, Wait]);
        breaker.tell(office, Answered, now);
        assert_eq!([(); 20].map(|()| breaker.admit(office, now)), [Go; 20]);
        for _ in 0..24 {
            breaker.tell(office, Answered, now);
        }
        assert!(breaker.retries.are_all_free());
    }

    #[test]
    fn failures_are_forgotten_in_time() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + PAUSE + PAUSE * MEMORY;
        let just_before = later - Duration::from_millis(1);
        breaker.admit(source(1), just_before);
        assert_eq!(breaker.retries.held_by(source(1)), 1);
        breaker.admit(source(2), later);
        assert!(breaker.trying.contains(&source(2)), "as one that never failed");
    }

    #[test]
    fn the_smallest_service_is_asked() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE, 1);
        for number in [1, 2] {
            breaker.tell(source(number), Failed, now);
        }
        assert_eq!((breaker.admit(source(3), now), breaker.admit(far(4), now)), (Go, Wait));
        let later = now + PAUSE;
        assert_eq!((breaker.admit(source(1), later), breaker.admit(source(2), later)), (Go, Wait));
    }

    #[test]
    fn failures_are_remembered_of_so_many_sources() {
        let now = Instant::now();
        let mut breaker = breaker(1);
        let most = u32::try_from(MOST_SOURCES).unwrap();
        for number in 0..2 * most {
            breaker.tell(source(number), Failed, now + Duration::from_millis(number.into()));
        }
        assert_eq!(breaker.sources.len(), MOST_SOURCES);
        assert!(breaker.failures(source(2 * most - 1), now).is_some());
        assert!(breaker.failures(source(0), now).is_none());
    }

    #[test]
    fn states_are_found_by_their_numbers() {
        for state in BreakerState::ALL {
            assert_eq!(BreakerState::ALL[state as usize], state);
        }
    }
}
