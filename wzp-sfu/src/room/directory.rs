//! The rooms whose home is this shard: the one place that decides who is in a
//! room, under which sender id, and in which order changes happened.
//!
//! Members are told of changes by one message per room and
//! [`Limits::membership_window`], whatever came to pass in it: a message to everyone
//! for each of a thousand joins would be half a million packets. The first change after
//! a quiet time is told at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wzp_proto::close::CloseCode;

use super::entry::Entry;
use crate::count::stats::ShardStats;
use crate::ids::{RoomId, SessionId, ShardIndex};
use crate::limits::Limits;
use crate::mail::{Admitted, Change, JoinRequest, RoomMail};

/// All rooms whose home is one shard.
#[derive(Debug)]
pub(crate) struct Directory {
    home: u16,
    max_members: usize,
    /// Least time between two messages to one room.
    window: Duration,
    by_name: HashMap<Arc<str>, RoomId>,
    rooms: HashMap<RoomId, Entry>,
    next_number: u64,
    /// Rooms whose members have something to be told, by the time at which they are.
    due: BTreeSet<(Instant, RoomId)>,
    stats: Arc<ShardStats>,
    /// The room that is being changed. After a panic it may be half changed; all
    /// others are whole.
    changing: Option<RoomId>,
}

/// Mail to be sent, with its addressee.
pub(crate) type Letters = Vec<(ShardIndex, RoomMail)>;

impl Directory {
    pub(crate) fn new(home: ShardIndex, limits: &Limits, stats: Arc<ShardStats>) -> Self {
        Self {
            home: home as u16,
            max_members: limits.room_members as usize,
            window: limits.membership_window,
            by_name: HashMap::new(),
            rooms: HashMap::new(),
            next_number: 0,
            due: BTreeSet::new(),
            stats,
            changing: None,
        }
    }

    /// Rooms that have more members keep them; what is to be told already keeps its time.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.max_members = limits.room_members as usize;
        self.window = limits.membership_window;
    }

    /// Takes a session into the room of that name, which begins to exist with
    /// its first member; answers the session's shard.
    pub(crate) fn join(&mut self, now: Instant, request: JoinRequest, out: &mut Letters) {
        let (session, shard) = (request.session, request.shard);
        let known = self.by_name.get(&request.room).copied();
        let id = known.unwrap_or_else(|| self.create(request.room.clone()));
        self.changing = Some(id);
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let before = room.shards().clone();
        let has_place = room.len() < self.max_members;
        let entered = if has_place { room.enter(request) } else { None };
        let Some((sender_id, snapshot)) = entered else {
            let text = format!("the room is full: it takes {} at most", room.len());
            out.push((shard, RoomMail::Refused { session, code: CloseCode::RoomFull, text }));
            return;
        };
        let shards = room.shards().clone();
        tell_spread(id, &before, &shards, out);
        let name = room.name.clone();
        let admitted = Admitted { session, room: id, name, sender_id, snapshot, shards };
        out.push((shard, RoomMail::Admitted(Box::new(admitted))));
        self.note(now, id);
    }

    /// Takes a member out. A room ends with its last one.
    pub(crate) fn leave(
        &mut self,
        now: Instant,
        id: RoomId,
        sender_id: u16,
        session: SessionId,
        out: &mut Letters,
    ) {
        self.changing = Some(id);
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let before = room.shards().clone();
        if !room.leave(sender_id, session) {
            return;
        }
        if room.len() == 0 {
            return self.end(id);
        }
        tell_spread(id, &before, room.shards(), out);
        self.note(now, id);
    }

    /// Notes whether a member is muted.
    pub(crate) fn set_muted(&mut self, now: Instant, id: RoomId, sender_id: u16, muted: bool) {
        self.changing = Some(id);
        if self.rooms.get_mut(&id).is_some_and(|room| room.set_muted(sender_id, muted)) {
            self.note(now, id);
        }
    }

    /// When [`Self::tell`] has something to say.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Tells the members of rooms for which it is time.
    pub(crate) fn tell(&mut self, now: Instant, out: &mut Letters) {
        while let Some((_, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_first();
            self.changing = Some(id);
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            room.due = None;
            let Some(messages) = room.tell(now) else { continue };
            self.stats.membership_messages.add(1);
            let change = Change { room: id, messages };
            out.extend(room.shards().iter().map(|to| (*to, RoomMail::Changed(change.clone()))));
        }
    }

    /// Sees to it that the members hear of a change, unless there is nobody to tell.
    fn note(&mut self, now: Instant, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.has_changed()) else { return };
        let due = *room.due.get_or_insert_with(|| {
            room.told_at.map_or(now, |told_at| now.max(told_at + self.window))
        });
        self.due.insert((due, id));
        self.stats.membership_changes.add(1);
        self.stats.membership_changes_deferred.add((due > now).into());
    }

    /// Everybody who sits on a shard, as [`Self::leave`] takes them.
    pub(crate) fn members_on(&self, shard: ShardIndex) -> Vec<(RoomId, u16, SessionId)> {
        let mut there = Vec::new();
        for (id, room) in &self.rooms {
            let members = room.members_on(shard);
            there.extend(members.map(|(sender_id, session)| (*id, sender_id, session)));
        }
        // Whatever order the map has them in.
        there.sort_unstable();
        there
    }

    /// What was being changed is whole.
    pub(crate) fn settle(&mut self) {
        self.changing = None;
    }

    /// Forgets the room that was being changed when the shard panicked, if one was.
    /// Who is in it has to go, whatever shard it sits on.
    pub(crate) fn forget_half_changed(&mut self) -> Option<RoomId> {
        let id = self.changing.take()?;
        self.rooms.remove(&id);
        self.by_name.retain(|_, room| *room != id);
        self.stats.rooms.set(self.rooms.len() as u64);
        Some(id)
    }

    fn create(&mut self, name: Arc<str>) -> RoomId {
        let id = RoomId { home: self.home, number: self.next_number };
        self.next_number += 1;
        self.by_name.insert(name.clone(), id);
        self.rooms.insert(id, Entry::new(name));
        self.stats.rooms.add(1);
        id
    }

    fn end(&mut self, id: RoomId) {
        let Some(room) = self.rooms.remove(&id) else { return };
        self.by_name.remove(&room.name);
        if let Some(due) = room.due {
            self.due.remove(&(due, id));
        }
        self.stats.rooms.sub(1);
    }
}

/// Tells the shards of a room at once if there is one more or less of them: media finds
/// its way by it.
fn tell_spread(
    room: RoomId,
    before: &Arc<[ShardIndex]>,
    after: &Arc<[ShardIndex]>,
    out: &mut Letters,
) {
    if before != after {
        let told = after.iter().filter(|shard| before.contains(shard));
        out.extend(told.map(|to| (*to, RoomMail::Spread { room, shards: after.clone() })));
    }
}

#[cfg(test)]
mod tests;
