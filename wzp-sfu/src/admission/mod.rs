//! Who may connect: the limits that hold for the whole relay. Asked when a
//! connection begins, joins and ends; never per packet.
//!
//! Where there is no room, a session where nobody is any more makes way for newcomers
//! of its address or user, and an idle one for those whose network has fewer. Which,
//! is decided here and told to its shard ([`Displaced`]). Nobody who is in a call has
//! to go.

mod books;
mod prefix;
mod pulse;
mod search;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::count::reason::RefuseReason;
use crate::ids::{SessionId, ShardIndex};
use crate::limits::Limits;
use crate::mail::Cause;
use books::{Books, Caps, Stage, Ticket};
use prefix::{Prefix, Prefixes, Tier, prefixes_of};
use pulse::Pulse;
use search::{Silence, Vacancy};

/// The relay's books on connections and sessions, shared by all shards.
#[derive(Debug)]
pub struct Admission {
    start: Instant,
    books: Mutex<Books>,
}

/// Who sends a first packet.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// What its session will be called.
    pub session: SessionId,
    /// The shard that it has come to.
    pub shard: ShardIndex,
    /// Its address.
    pub ip: IpAddr,
    /// Whether that is proven to be its own (RFC 9000 section 8.1.2).
    pub is_proven: bool,
    /// Whether it can be told later.
    pub may_wait: bool,
}

/// What becomes of a first packet.
#[derive(Debug)]
pub enum Arrival {
    /// The connection may begin. Those who are named have to go.
    Enter(Permit, Vec<Displaced>),
    /// The client must first prove that it owns its address: there are so many
    /// connections on their way, or so many from there, that somebody may be using
    /// addresses that are not his.
    Prove,
    /// The sessions named here are to be asked for a sign of life. After [`PATIENCE`]
    /// it is known whether there is a place.
    Defer(Vec<Seated>),
    /// That limit forbids it.
    Refuse(RefuseReason),
}

/// How long a first packet waits that was deferred.
pub const PATIENCE: Duration = Duration::from_millis(pulse::ANSWER + 5);

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seated {
    /// The session.
    pub session: SessionId,
    /// Its shard.
    pub shard: ShardIndex,
}

/// A connection that has to go for a newcomer. It counts for nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Which.
    pub who: Seated,
    /// Why.
    pub cause: Cause,
}

/// As many sessions are there as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a connection counts as. Giving it up, in whatever way, takes it off
/// the books.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    ticket: Ticket,
    pulse: Arc<Pulse>,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Sessions in rooms.
    pub sessions: u32,
    /// Connections that have not joined.
    pub handshakes: u32,
    /// Connections that are over and not yet forgotten.
    pub closing: u32,
    /// Connections of all these kinds that have to go for a newcomer, and that their
    /// shard has not ended yet.
    pub making_way: u32,
    /// Addresses, sites and networks that any of them comes from.
    pub prefixes: usize,
}

impl Admission {
    /// With the limits of the configuration. `start`: a time before all others.
    pub fn new(limits: &Limits, start: Instant) -> Arc<Self> {
        Arc::new(Self { start, books: Mutex::new(Books::new(Caps::new(limits))) })
    }

    /// Takes on other limits. Nobody who is there has to go.
    pub fn set_limits(&self, limits: &Limits) {
        self.books().set_caps(Caps::new(limits));
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change leaves the books whole, so a panic elsewhere is no harm.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Decides about a first packet.
    pub fn arrive(self: &Arc<Self>, newcomer: Newcomer, now: Instant) -> Arrival {
        let prefixes = prefixes_of(newcomer.ip);
        let now = self.millis(now);
        let mut books = self.books();
        if !newcomer.is_proven && books.is_crowded(prefixes) {
            return Arrival::Prove;
        }
        let oldest = match books.room_for_handshake(prefixes) {
            Ok(oldest) => oldest,
            Err(reason) => return Arrival::Refuse(reason),
        };
        // Whoever goes leaves a place in all wider prefixes, too.
        let full = prefixes.into_iter().flatten().find(|prefix| !books.has_room(*prefix));
        let silent = match full.map(|prefix| (prefix.tier, books.find_vacancy(prefix, now))) {
            None => None,
            Some((_, Vacancy::Of(ticket))) => Some(ticket),
            Some((_, Vacancy::Asked(who))) if newcomer.may_wait => return Arrival::Defer(who),
            Some((tier, _)) => return Arrival::Refuse(tier.into()),
        };
        if silent.is_none()
            && newcomer.may_wait
            && books.sessions >= books.caps.sessions
            && let [Some(address), ..] = prefixes
            && let Vacancy::Asked(who) = books.find_vacancy(address, now)
        {
            return Arrival::Defer(who);
        }
        let mut displaced = Vec::new();
        displaced.extend(silent.map(|ticket| books.displace(ticket, Cause::Replaced)));
        displaced.extend(oldest.map(|ticket| books.displace(ticket, Cause::Preempted)));
        let pulse = Arc::new(Pulse::default());
        pulse.hear(now);
        let ticket = books.add(newcomer.session, newcomer.shard, prefixes, pulse.clone());
        Arrival::Enter(Permit { admission: self.clone(), ticket, pulse }, displaced)
    }

    /// Whether somebody whose network has nobody here would get a place: a free one, or
    /// that of an idle session of those who have more.
    pub fn takes_newcomers(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let mut books = self.books();
        // Nobody can come from there.
        let nobody = prefixes_of(Ipv4Addr::UNSPECIFIED.into());
        books.sessions < books.caps.sessions || books.find_idle(nobody, now).is_some()
    }

    /// Most sessions at a time.
    pub fn most_sessions(&self) -> u32 {
        self.books().caps.sessions
    }

    /// Everyone on the books now.
    pub fn population(&self) -> Population {
        let books = self.books();
        Population {
            sessions: books.sessions,
            handshakes: books.handshakes,
            closing: books.closing,
            making_way: books.making_way,
            prefixes: books.crowds.len(),
        }
    }
}

impl Permit {
    /// Turns a connection into a session of that user. If the relay is full, in
    /// the place of the one that is named.
    ///
    /// # Errors
    /// Nobody makes way.
    pub fn join(
        &mut self,
        user: Option<&Arc<str>>,
        now: Instant,
    ) -> Result<Option<Displaced>, Full> {
        let now = self.admission.millis(now);
        let mut books = self.admission.books();
        let mut displaced = None;
        if books.sessions >= books.caps.sessions {
            let (ticket, cause) = books.find_place(self.ticket, user, now).ok_or(Full)?;
            displaced = Some(books.displace(ticket, cause));
        }
        self.pulse.pass_media(now);
        books.join(self.ticket, user.cloned());
        Ok(displaced)
    }

    /// The connection is over; it counts for nothing but its prefixes.
    pub fn close(&mut self) {
        let mut books = self.admission.books();
        let stage = match books.members.get(&self.ticket).map(|member| member.stage) {
            Some(Stage::MakingWay | Stage::MadeWay) => Stage::MadeWay,
            _ => Stage::Closing,
        };
        books.enter(self.ticket, stage);
    }

    /// A packet came.
    pub fn hear(&self, now: Instant) {
        self.pulse.hear(self.admission.millis(now));
    }

    /// Something was sent that a peer that lives acknowledges.
    pub fn ask(&self, now: Instant, round_trip: Duration) {
        let round_trip = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
        self.pulse.ask(self.admission.millis(now), Some(round_trip));
    }

    /// Media of the session or to it was forwarded.
    pub fn pass_media(&self, now: Instant) {
        self.pulse.pass_media(self.admission.millis(now));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.books().remove(self.ticket);
    }
}

impl Books {
    fn has_room(&self, prefix: Prefix) -> bool {
        self.connections(prefix) < self.caps.connections(prefix.tier)
    }

    fn connections(&self, prefix: Prefix) -> u32 {
        self.crowds.get(&prefix).map_or(0, |crowd| crowd.connections)
    }

    /// Whether somebody may be using addresses that are not his.
    fn is_crowded(&self, prefixes: Prefixes) -> bool {
        let mut prefixes = prefixes.into_iter().flatten();
        self.handshakes > self.caps.handshakes / 2
            || self.sessions >= self.caps.sessions
            || prefixes
                .any(|prefix| self.connections(prefix) > self.caps.connections(prefix.tier) / 2)
    }

    /// Whether another connection may be on its way in, and in whose place.
    fn room_for_handshake(&self, prefixes: Prefixes) -> Result<Option<Ticket>, RefuseReason> {
        if self.handshakes < self.caps.handshakes / 2 {
            return Ok(None);
        }
        let on_their_way =
            |prefix| self.crowds.get(&prefix).map_or(0, |crowd| crowd.handshakes.len());
        let has_share =
            |prefix: Prefix| on_their_way(prefix) < self.caps.handshakes(prefix.tier) as usize;
        if !prefixes.into_iter().flatten().all(has_share) {
            return Err(RefuseReason::Handshakes);
        }
        if self.handshakes < self.caps.handshakes {
            return Ok(None);
        }
        self.find_handshake(prefixes).map(Some).ok_or(RefuseReason::Handshakes)
    }

    /// Who makes way for a connection that joins a full relay.
    fn find_place(
        &mut self,
        newcomer: Ticket,
        user: Option<&Arc<str>>,
        now: u64,
    ) -> Option<(Ticket, Cause)> {
        let prefixes = self.members.get(&newcomer)?.prefixes;
        let of_user = user.and_then(|user| self.find_silent_of(user, now));
        let silent = of_user.or_else(|| match self.find_silent(prefixes[0]?, now) {
            Silence::Found(ticket) => Some(ticket),
            Silence::Waiting | Silence::None => None,
        });
        silent
            .map(|ticket| (ticket, Cause::Replaced))
            .or_else(|| self.find_idle(prefixes, now).map(|ticket| (ticket, Cause::Preempted)))
    }

    fn displace(&mut self, ticket: Ticket, cause: Cause) -> Displaced {
        let who = self.seated(ticket);
        self.enter(ticket, Stage::MakingWay);
        Displaced { who, cause }
    }
}

impl From<Tier> for RefuseReason {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Address => Self::Address,
            Tier::Site => Self::Site,
            Tier::Network => Self::Network,
        }
    }
}

#[cfg(test)]
mod tests;
