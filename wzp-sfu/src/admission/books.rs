//! The books themselves: who is there, what for, and from where. Every list that
//! is looked through to find a place is kept in order, so that no newcomer costs a
//! look at all who are there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Seated;
use super::prefix::{Prefix, Prefixes, Tier};
use super::pulse::Pulse;
use crate::ids::{SessionId, ShardIndex};
use crate::limits::Limits;

/// Names a connection in the books: later ones have higher numbers.
pub(super) type Ticket = u64;

/// The limits in force.
#[derive(Debug)]
pub(super) struct Caps {
    pub(super) sessions: u32,
    pub(super) handshakes: u32,
    per_address: u32,
    per_site: u32,
    per_network: u32,
    /// In ms.
    pub(super) idle: u64,
}

impl Caps {
    pub(super) fn new(limits: &Limits) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            sessions: limits.sessions,
            handshakes: limits.handshakes,
            per_address: limits.sessions_per_address,
            per_site: limits.sessions_per_site,
            per_network: limits.sessions_per_network,
            idle: millis(limits.preempt_after),
        }
    }

    /// Connections of one prefix: never fewer than what a narrower one may have.
    pub(super) fn connections(&self, tier: Tier) -> u32 {
        match tier {
            Tier::Address => self.per_address,
            Tier::Site => self.per_site.max(self.per_address),
            Tier::Network => self.per_network.max(self.per_site).max(self.per_address),
        }
    }

    /// Connections of one prefix that have not joined, once half of all that may
    /// be are there.
    pub(super) fn handshakes(&self, tier: Tier) -> u32 {
        let share = match tier {
            Tier::Address => 16,
            Tier::Site => 8,
            Tier::Network => 4,
        };
        (self.handshakes / share).max(1)
    }
}

/// What a connection counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Handshake,
    Session,
    /// Over, but QUIC still answers its last packets (RFC 9000 section 10.2).
    /// How long is up to the peer, so it still counts for its prefixes.
    Closing,
    /// Has to go for a newcomer, and its shard has not ended it yet. It counts for
    /// nothing any more.
    MakingWay,
    /// Has gone for a newcomer, and its shard has not forgotten it yet.
    MadeWay,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) session: SessionId,
    pub(super) shard: ShardIndex,
    pub(super) prefixes: Prefixes,
    pub(super) stage: Stage,
    pub(super) pulse: Arc<Pulse>,
    /// Under which times the prefixes have it in order, as a session.
    places: [u64; 3],
    user: Option<Arc<str>>,
}

/// Everyone of one prefix.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) connections: u32,
    /// Who has not joined, the oldest first.
    pub(super) handshakes: BTreeSet<Ticket>,
    /// Sessions in the order in which they were last heard or asked, as far as is
    /// known: later signs are found when somebody looks.
    pub(super) sessions: BTreeSet<(u64, Ticket)>,
    /// When its members were last asked, and how many.
    pub(super) asked: Option<(u64, usize)>,
}

/// What a prefix has of what it may have, in millionths.
type Weight = u64;

fn weight(count: usize, cap: u32) -> Weight {
    (count as u64).saturating_mul(1_000_000) / u64::from(cap.max(1))
}

/// Prefixes by weight.
pub(super) type Scale = BTreeSet<(Weight, Prefix)>;

#[derive(Debug)]
pub(super) struct Books {
    pub(super) caps: Caps,
    pub(super) sessions: u32,
    pub(super) handshakes: u32,
    pub(super) closing: u32,
    pub(super) making_way: u32,
    pub(super) members: HashMap<Ticket, Member>,
    pub(super) crowds: HashMap<Prefix, Crowd>,
    pub(super) users: HashMap<Arc<str>, BTreeSet<Ticket>>,
    /// Prefixes with sessions.
    pub(super) by_sessions: Scale,
    /// Prefixes with connections that have not joined.
    pub(super) by_handshakes: Scale,
    next: Ticket,
}

impl Books {
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            sessions: 0,
            handshakes: 0,
            closing: 0,
            making_way: 0,
            members: HashMap::new(),
            crowds: HashMap::new(),
            users: HashMap::new(),
            by_sessions: Scale::new(),
            by_handshakes: Scale::new(),
            next: 0,
        }
    }

    /// Holds to other limits: the weight of each prefix is another.
    pub(super) fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
        self.by_sessions.clear();
        self.by_handshakes.clear();
        for (prefix, crowd) in &self.crowds {
            let [sessions, handshakes] = crowd.weights(&self.caps, prefix.tier);
            self.by_sessions.extend(sessions.map(|weight| (weight, *prefix)));
            self.by_handshakes.extend(handshakes.map(|weight| (weight, *prefix)));
        }
    }

    /// Takes on a connection that has begun.
    pub(super) fn add(
        &mut self,
        session: SessionId,
        shard: ShardIndex,
        prefixes: Prefixes,
        pulse: Arc<Pulse>,
    ) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        let member = Member {
            session,
            shard,
            prefixes,
            stage: Stage::Handshake,
            pulse,
            places: [0; 3],
            user: None,
        };
        self.members.insert(ticket, member);
        self.list(ticket);
        ticket
    }

    /// Has a connection count as something else.
    pub(super) fn enter(&mut self, ticket: Ticket, stage: Stage) {
        self.unlist(ticket);
        if let Some(member) = self.members.get_mut(&ticket) {
            member.stage = stage;
        }
        self.list(ticket);
    }

    /// Has a connection that joins count as a session of that user.
    pub(super) fn join(&mut self, ticket: Ticket, user: Option<Arc<str>>) {
        if let Some(member) = self.members.get_mut(&ticket) {
            member.user = user;
        }
        self.enter(ticket, Stage::Session);
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.unlist(ticket);
        self.members.remove(&ticket);
    }

    /// Finds a session's place among those of a prefix again, once it was heard or
    /// asked at `time`.
    pub(super) fn put_back(&mut self, prefix: Prefix, ticket: Ticket, time: u64) {
        let Some(member) = self.members.get_mut(&ticket) else { return };
        let Some(crowd) = self.crowds.get_mut(&prefix) else { return };
        for (known, place) in member.prefixes.iter().zip(&mut member.places) {
            if *known == Some(prefix) {
                crowd.sessions.remove(&(*place, ticket));
                *place = time;
                crowd.sessions.insert((time, ticket));
            }
        }
    }

    /// Where a connection is.
    pub(super) fn seated(&self, ticket: Ticket) -> Seated {
        let Member { session, shard, .. } = self.members[&ticket];
        Seated { session, shard }
    }

    /// The weight a prefix would have with another session.
    pub(super) fn weight_with_session(&self, prefix: Prefix) -> Weight {
        let sessions = self.crowds.get(&prefix).map_or(0, |crowd| crowd.sessions.len());
        weight(sessions + 1, self.caps.connections(prefix.tier))
    }

    /// The weight a prefix would have with another connection that has not joined.
    pub(super) fn weight_with_handshake(&self, prefix: Prefix) -> Weight {
        let handshakes = self.crowds.get(&prefix).map_or(0, |crowd| crowd.handshakes.len());
        weight(handshakes + 1, self.caps.handshakes(prefix.tier))
    }

    fn list(&mut self, ticket: Ticket) {
        let Some(member) = self.members.get_mut(&ticket) else { return };
        let stage = member.stage;
        if let (Stage::Session, Some(user)) = (stage, &member.user) {
            self.users.entry(user.clone()).or_default().insert(ticket);
        }
        let last = member.pulse.last();
        member.places = [last; 3];
        let prefixes = member.prefixes;
        *self.count(stage) += 1;
        self.change(prefixes, stage, |_, crowd| {
            crowd.connections += 1;
            match stage {
                Stage::Handshake => drop(crowd.handshakes.insert(ticket)),
                Stage::Session => drop(crowd.sessions.insert((last, ticket))),
                Stage::Closing | Stage::MakingWay | Stage::MadeWay => {}
            }
        });
    }

    fn unlist(&mut self, ticket: Ticket) {
        let Some(member) = self.members.get(&ticket) else { return };
        let (stage, prefixes, places) = (member.stage, member.prefixes, member.places);
        if let (Stage::Session, Some(user)) = (stage, &member.user)
            && let Some(tickets) = self.users.get_mut(user)
        {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.users.remove(user);
            }
        }
        *self.count(stage) -= 1;
        self.change(prefixes, stage, |number, crowd| {
            crowd.connections -= 1;
            match stage {
                Stage::Handshake => drop(crowd.handshakes.remove(&ticket)),
                Stage::Session => drop(crowd.sessions.remove(&(places[number], ticket))),
                Stage::Closing | Stage::MakingWay | Stage::MadeWay => {}
            }
        });
    }

    /// Changes the crowds that a connection of that stage is part of, numbered as its
    /// prefixes are, and their weights with them.
    fn change(&mut self, prefixes: Prefixes, stage: Stage, act: impl Fn(usize, &mut Crowd)) {
        if matches!(stage, Stage::MakingWay | Stage::MadeWay) {
            return;
        }
        for (number, prefix) in prefixes.into_iter().enumerate() {
            let Some(prefix) = prefix else { continue };
            let crowd = self.crowds.entry(prefix).or_default();
            let before = crowd.weights(&self.caps, prefix.tier);
            act(number, crowd);
            let after = crowd.weights(&self.caps, prefix.tier);
            if crowd.connections == 0 {
                self.crowds.remove(&prefix);
            }
            let scales = [&mut self.by_sessions, &mut self.by_handshakes];
            for ((scale, before), after) in scales.into_iter().zip(before).zip(after) {
                if before != after {
                    before.map(|weight| scale.remove(&(weight, prefix)));
                    scale.extend(after.map(|weight| (weight, prefix)));
                }
            }
        }
    }

    fn count(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Handshake => &mut self.handshakes,
            Stage::Session => &mut self.sessions,
            Stage::Closing | Stage::MadeWay => &mut self.closing,
            Stage::MakingWay => &mut self.making_way,
        }
    }
}

impl Crowd {
    /// Its weights by sessions and by connections that have not joined; `None`
    /// without any.
    fn weights(&self, caps: &Caps, tier: Tier) -> [Option<Weight>; 2] {
        let of = |count, cap| (count > 0).then(|| weight(count, cap));
        [
            of(self.sessions.len(), caps.connections(tier)),
            of(self.handshakes.len(), caps.handshakes(tier)),
        ]
    }
}
