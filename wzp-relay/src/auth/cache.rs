//! Answers that still count. Bounded, because strangers choose the questions; and
//! nothing makes way for their answers: what finds no place is not kept.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::shares::Shares;
use super::source::Source;
use wzp_sfu::access::after;
use wzp_sfu::access::{Expiry, Grant, Refusal};

/// SHA-256 of the whole question: tokens are not kept.
pub(super) type Digest = [u8; 32];

/// Answers kept of each kind.
const MOST: usize = 10_000;

/// Answers by question. Grants and refusals have places of their own.
#[derive(Debug)]
pub(super) struct Cache {
    grants: Answers,
    refusals: Answers,
}

impl Cache {
    /// For how long grants and refusals are kept.
    pub(super) fn new(grants: Duration, refusals: Duration) -> Self {
        Self { grants: Answers::new(grants), refusals: Answers::new(refusals) }
    }

    pub(super) fn get(&self, digest: &Digest, now: Instant) -> Option<Result<Grant, Refusal>> {
        self.grants.get(digest, now).or_else(|| self.refusals.get(digest, now))
    }

    /// Keeps an answer, but no grant beyond its own end.
    pub(super) fn keep(
        &mut self,
        digest: Digest,
        source: Source,
        result: &Result<Grant, Refusal>,
        now: Instant,
    ) {
        let answers = if result.is_ok() { &mut self.grants } else { &mut self.refusals };
        answers.keep(digest, source, result, now);
    }
}

#[derive(Debug)]
struct Answers {
    time: Duration,
    answers: HashMap<Digest, Answer>,
    /// Oldest first; each key of `answers` once.
    order: VecDeque<Digest>,
    shares: Shares,
}

#[derive(Debug)]
struct Answer {
    result: Result<Grant, Refusal>,
    source: Source,
    until: Instant,
}

impl Answers {
    fn new(time: Duration) -> Self {
        let (answers, order) = (HashMap::new(), VecDeque::new());
        Self { time, answers, order, shares: Shares::new(MOST) }
    }

    fn get(&self, digest: &Digest, now: Instant) -> Option<Result<Grant, Refusal>> {
        let answer = self.answers.get(digest).filter(|answer| now < answer.until)?;
        Some(answer.result.clone())
    }

    fn keep(
        &mut self,
        digest: Digest,
        source: Source,
        result: &Result<Grant, Refusal>,
        now: Instant,
    ) {
        self.forget(now);
        if self.time.is_zero() {
            return;
        }
        let until = after(now, self.time);
        let until = match result.as_ref().ok().and_then(|grant| grant.expires) {
            Some(Expiry::After(end)) => end.min(until),
            // The session that gets it knows by itself.
            Some(Expiry::At(_)) | None => until,
        };
        let answer = Answer { result: result.clone(), source, until };
        if let Some(before) = self.answers.get_mut(&digest) {
            // The question has the address in it, so the source is the same.
            *before = answer;
        } else if self.shares.take(source) {
            self.answers.insert(digest, answer);
            self.order.push_back(digest);
        }
    }

    /// Gives the places of the oldest answers back that do not count any more.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let answer = self.answers.get(oldest);
            if answer.is_some_and(|answer| now < answer.until) {
                return;
            }
            if let Some(answer) = self.answers.remove(oldest) {
                self.shares.give_back(answer.source);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wzp_sfu::count::reason::AuthFailReason;

    const TIME: Duration = Duration::from_secs(30);

    fn digest(number: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    fn source(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    fn refusal() -> Result<Grant, Refusal> {
        Err(Refusal::new(AuthFailReason::Denied, "no"))
    }

    #[test]
    fn an_answer_counts_for_its_time_and_a_grant_not_beyond_its_end() {
        let now = Instant::now();
        let mut cache = Cache::new(TIME, TIME / 3);
        let (yes, no) = (Ok(Grant::EVERYTHING), refusal());
        let short = Ok(Grant { expires: Some(Expiry::After(now + TIME / 2)), ..Grant::EVERYTHING });
        for (number, answer) in [(1, &yes), (2, &no), (3, &short)] {
            cache.keep(digest(number), source(0), answer, now);
        }
        let at = |time| [1, 2, 3].map(|number| cache.get(&digest(number), now + time));
        assert_eq!(at(TIME / 4), [Some(yes.clone()), Some(no), Some(short.clone())]);
        assert_eq!(at(TIME / 3), [Some(yes.clone()), None, Some(short)]);
        assert_eq!(at(TIME / 2), [Some(yes.clone()), None, None]);
        assert_eq!(at(TIME), [None, None, None]);

        let mut none = Cache::new(Duration::ZERO, Duration::ZERO);
        none.keep(digest(1), source(0), &yes, now);
        assert!(none.get(&digest(1), now).is_none());
    }

    #[test]
    fn strangers_can_neither_make_it_grow_nor_push_anybody_out() {
        let now = Instant::now();
        let mut cache = Cache::new(TIME, TIME);
        cache.keep(digest(0), source(0), &Ok(Grant::EVERYTHING), now);
        for number in 1..2 * MOST {
            cache.keep(digest(number), source(1), &refusal(), now);
            // One who has a good token and a new name each time.
            cache.keep(digest(2 * MOST + number), source(2), &Ok(Grant::EVERYTHING), now);
        }
        assert_eq!((cache.refusals.answers.len(), cache.grants.answers.len()), (2_000, 2_001));
        assert!(cache.get(&digest(0), now).is_some());
        cache.keep(digest(9 * MOST), source(3), &Ok(Grant::EVERYTHING), now);
        assert!(cache.get(&digest(9 * MOST), now).is_some(), "another finds a place");

        let later = now + TIME;
        cache.keep(digest(1), source(1), &refusal(), later);
        cache.keep(digest(1), source(1), &refusal(), later);
        assert_eq!((cache.refusals.answers.len(), cache.refusals.order.len()), (1, 1));
    }
}
