//! Answers that still count. Bounded, because strangers choose the questions.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Grant, Refusal};

/// SHA-256 of the whole question: tokens are not kept.
pub(super) type Digest = [u8; 32];

/// Answers kept; the oldest makes way.
const MOST: usize = 10_000;

/// Answers by question.
#[derive(Debug, Default)]
pub(super) struct Cache {
    answers: HashMap<Digest, Answer>,
    /// Oldest first; each key of `answers` once.
    order: VecDeque<Digest>,
}

#[derive(Debug)]
struct Answer {
    result: Result<Grant, Refusal>,
    until: Instant,
}

impl Cache {
    pub(super) fn get(&self, digest: &Digest, now: Instant) -> Option<Result<Grant, Refusal>> {
        let answer = self.answers.get(digest).filter(|answer| now < answer.until)?;
        Some(answer.result.clone())
    }

    /// Keeps an answer for `time`, but no grant beyond its own end.
    pub(super) fn keep(
        &mut self,
        digest: Digest,
        result: Result<Grant, Refusal>,
        now: Instant,
        time: Duration,
    ) {
        if time.is_zero() {
            return;
        }
        let expires = result.as_ref().ok().and_then(|grant| grant.expires);
        let until = expires.map_or(now + time, |expires| expires.min(now + time));
        if self.answers.insert(digest, Answer { result, until }).is_none() {
            self.order.push_back(digest);
        }
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::reason::AuthFailReason;

    const TIME: Duration = Duration::from_secs(30);

    fn digest(number: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn an_answer_counts_for_its_time_and_a_grant_not_beyond_its_end() {
        let now = Instant::now();
        let mut cache = Cache::default();
        let no = Err(Refusal::new(AuthFailReason::Denied, "no"));
        let short = Ok(Grant { expires: Some(now + TIME / 2), ..Grant::EVERYTHING });
        cache.keep(digest(1), Ok(Grant::EVERYTHING), now, TIME);
        cache.keep(digest(2), no.clone(), now, TIME / 3);
        cache.keep(digest(3), short.clone(), now, TIME);
        cache.keep(digest(4), no.clone(), now, Duration::ZERO);
        let at = |time| [1, 2, 3, 4].map(|number| cache.get(&digest(number), now + time));
        let yes = Ok(Grant::EVERYTHING);
        assert_eq!(at(TIME / 4), [Some(yes.clone()), Some(no), Some(short.clone()), None]);
        assert_eq!(at(TIME / 3), [Some(yes.clone()), None, Some(short), None]);
        assert_eq!(at(TIME / 2), [Some(yes), None, None, None]);
        assert_eq!(at(TIME), [None, None, None, None]);
    }

    #[test]
    fn strangers_cannot_make_it_grow() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for number in 0..3 * MOST {
            cache.keep(digest(number), Ok(Grant::EVERYTHING), now, TIME);
            cache.keep(digest(number), Ok(Grant::EVERYTHING), now, TIME);
        }
        assert_eq!((cache.answers.len(), cache.order.len()), (MOST, MOST));
        assert!(cache.get(&digest(0), now).is_none());
        assert!(cache.get(&digest(3 * MOST - 1), now).is_some());
    }
}
