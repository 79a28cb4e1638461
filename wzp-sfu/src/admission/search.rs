//! Who makes way for a newcomer. Each search looks at a bounded number of
//! connections, whatever the number that are there.

use std::sync::Arc;

use super::Seated;
use super::books::{Books, Scale, Ticket};
use super::prefix::{Prefix, Prefixes};
use super::pulse::Pulse;

/// Sessions of one prefix that are looked at for one newcomer.
const LOOKS: usize = 32;

/// Sessions that are asked for a sign of life for one newcomer. Twice as many are
/// looked at.
const QUESTIONS: usize = 128;

/// Most questions to one prefix in [`ROUND`]: who comes again after that is told
/// that there is no place.
const QUESTIONS_A_ROUND: usize = 256;

/// A session that has answered is not asked again within so long, in ms.
const ROUND: u64 = 10_000;

/// Who has been heard within so long, in ms, need not be asked.
const QUIET: u64 = 250;

/// The heaviest prefixes that are looked at.
const HEAVIEST: usize = 4;

/// Sessions of one user that are looked at.
const OF_USER: usize = 8;

/// What became of the search for a session where nobody is any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// This one has not answered.
    Found(Ticket),
    /// Some have still time to answer.
    Waiting,
    /// All are alive, as far as was looked.
    None,
}

/// A place for a newcomer in a prefix that is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// That of this silent session.
    Of(Ticket),
    /// Whether there is one will soon be known: these are asked, and others may have
    /// been.
    Asked(Vec<Seated>),
    /// There is none.
    None,
}

impl Books {
    /// Looks for a session of a prefix where nobody is any more, and has others asked
    /// if there is none.
    pub(super) fn find_vacancy(&mut self, prefix: Prefix, now: u64) -> Vacancy {
        match self.find_silent(prefix, now) {
            Silence::Found(ticket) => Vacancy::Of(ticket),
            Silence::Waiting => Vacancy::Asked(Vec::new()),
            Silence::None => {
                let asked = self.ask(prefix, now);
                if asked.is_empty() { Vacancy::None } else { Vacancy::Asked(asked) }
            }
        }
    }

    /// Looks for a session of a prefix where nobody is any more.
    pub(super) fn find_silent(&mut self, prefix: Prefix, now: u64) -> Silence {
        let mut found = Silence::None;
        self.walk(prefix, LOOKS, |ticket, pulse| {
            if pulse.is_silent(now) {
                found = Silence::Found(ticket);
            } else if pulse.owes_answer() {
                found = Silence::Waiting;
            }
            !matches!(found, Silence::Found(_))
        });
        found
    }

    /// Chooses sessions of a prefix to be asked whether they are still there: those
    /// that have been silent longest. They count as asked from now on.
    fn ask(&mut self, prefix: Prefix, now: u64) -> Vec<Seated> {
        let Some(crowd) = self.crowds.get(&prefix) else { return Vec::new() };
        let last_round = crowd.asked.filter(|(began, _)| now.saturating_sub(*began) < ROUND);
        let (began, asked) = last_round.unwrap_or((now, 0));
        let most = QUESTIONS.min(QUESTIONS_A_ROUND - asked);
        let mut questions = Vec::new();
        self.walk(prefix, 2 * QUESTIONS, |ticket, pulse| {
            let last = pulse.last();
            if last < began && now.saturating_sub(last) >= QUIET && questions.len() < most {
                questions.push(ticket);
            }
            questions.len() < most
        });
        for ticket in &questions {
            self.members[ticket].pulse.ask(now, None);
            self.put_back(prefix, *ticket, now);
        }
        if let Some(crowd) = self.crowds.get_mut(&prefix) {
            crowd.asked = Some((began, asked + questions.len()));
        }
        questions.into_iter().map(|ticket| self.seated(ticket)).collect()
    }

    /// A session of that user where nobody is any more.
    pub(super) fn find_silent_of(&self, user: &Arc<str>, now: u64) -> Option<Ticket> {
        let of_user = self.users.get(user)?.iter().take(OF_USER);
        of_user.copied().find(|ticket| self.members[ticket].pulse.is_silent(now))
    }

    /// An idle session of a prefix that is heavier than each of the newcomer's would
    /// be with it.
    pub(super) fn find_idle(&mut self, newcomer: Prefixes, now: u64) -> Option<Ticket> {
        let of = |prefix| self.weight_with_session(prefix);
        let own = newcomer.into_iter().flatten().map(of).max()?;
        let idle = self.caps.idle;
        heavier(&self.by_sessions, own).into_iter().find_map(|prefix| {
            let mut found: Option<(u64, Ticket)> = None;
            self.walk(prefix, LOOKS, |ticket, pulse| {
                if pulse.is_idle(now, idle) {
                    let this = (pulse.last(), ticket);
                    found = Some(found.map_or(this, |other| other.min(this)));
                }
                true
            });
            found.map(|(_, ticket)| ticket)
        })
    }

    /// The oldest connection that has not joined, of a prefix that is heavier than
    /// each of the newcomer's would be with it.
    pub(super) fn find_handshake(&self, newcomer: Prefixes) -> Option<Ticket> {
        let of = |prefix| self.weight_with_handshake(prefix);
        let own = newcomer.into_iter().flatten().map(of).max()?;
        let heaviest = heavier(&self.by_handshakes, own).into_iter().next()?;
        self.crowds.get(&heaviest)?.handshakes.first().copied()
    }

    /// Goes through a prefix's sessions, those first that have been silent longest as
    /// far as is known, until `look` has seen enough or so many were seen. Whoever was
    /// heard or asked meanwhile is put where it belongs.
    fn walk(
        &mut self,
        prefix: Prefix,
        at_most: usize,
        mut look: impl FnMut(Ticket, &Pulse) -> bool,
    ) {
        let mut from = (0, 0);
        for _ in 0..at_most {
            let Some(crowd) = self.crowds.get(&prefix) else { return };
            let Some((known, ticket)) = crowd.sessions.range(from..).next().copied() else {
                return;
            };
            from = (known, ticket + 1);
            let pulse = &self.members[&ticket].pulse;
            let (last, goes_on) = (pulse.last(), look(ticket, pulse));
            if last != known {
                self.put_back(prefix, ticket, last);
            }
            if !goes_on {
                return;
            }
        }
    }
}

/// The heaviest prefixes of those heavier than `own`.
fn heavier(scale: &Scale, own: u64) -> Vec<Prefix> {
    let heaviest = scale.iter().rev().take(HEAVIEST);
    heaviest.take_while(|(weight, _)| *weight > own).map(|(_, prefix)| *prefix).collect()
}
