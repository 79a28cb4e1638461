//! The rooms whose home is this shard: the one place that decides who is in a
//! room, under which sender id, and in which order changes happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wzp_proto::close::CloseCode;
use wzp_proto::control::{Member, MemberJoined, MemberLeft, MemberMuted, relay_message};

use super::{RoomId, SessionId, ShardIndex};
use crate::shard::mail::{Admitted, Change, JoinRequest, Mail};

/// A room's authoritative state.
#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// Grows by one with every change of membership.
    version: u64,
    members: BTreeMap<u16, Seat>,
    /// The sender id given last. The next free one above it comes next, so
    /// that an id is not used again right after its owner left.
    last_sender_id: u16,
}

#[derive(Debug)]
struct Seat {
    shard: ShardIndex,
    session: SessionId,
    name: String,
    muted: bool,
}

/// All rooms whose home is one shard.
#[derive(Debug)]
pub(crate) struct Directory {
    home: u16,
    max_members: usize,
    by_name: HashMap<Arc<str>, RoomId>,
    rooms: HashMap<RoomId, Entry>,
    next_number: u64,
    /// The room that is being changed. After a panic it may be half changed; all
    /// others are whole.
    changing: Option<RoomId>,
}

/// Mail to be sent, with its addressee.
pub(crate) type Outgoing = Vec<(ShardIndex, Mail)>;

impl Directory {
    /// Rooms that have more members keep them.
    pub(crate) fn set_max_members(&mut self, most: u32) {
        self.max_members = most as usize;
    }

    pub(crate) fn new(home: ShardIndex, max_members: u32) -> Self {
        Self {
            home: home as u16,
            max_members: max_members as usize,
            by_name: HashMap::new(),
            rooms: HashMap::new(),
            next_number: 0,
            changing: None,
        }
    }

    /// Rooms that have members.
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Takes a session into the room of that name, which begins to exist with
    /// its first member; answers the session's shard, tells all others.
    pub(crate) fn join(&mut self, request: JoinRequest, out: &mut Outgoing) {
        let JoinRequest { room: name, session, shard, member_name, muted } = request;
        let id = self.by_name.get(&name).copied().unwrap_or_else(|| self.create(name));
        self.changing = Some(id);
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if room.members.len() >= self.max_members {
            let text =
                format!("the room has {} members, as many as it may have", room.members.len());
            out.push((shard, Mail::Refused { session, code: CloseCode::RoomFull, text }));
            return;
        }
        let Some(sender_id) = room.free_sender_id() else { return };
        room.last_sender_id = sender_id;
        room.version += 1;
        let members: Vec<Member> = room.members.iter().map(|(id, seat)| seat.member(*id)).collect();
        let seat = Seat { shard, session, name: member_name, muted };
        let joined =
            MemberJoined { room_version: room.version, member: Some(seat.member(sender_id)) };
        // The change goes out before the newcomer is entered, so that it does
        // not hear of itself, and carries the shards as they are after it.
        let audience = room.shards();
        room.members.insert(sender_id, seat);
        let shards = room.shards();
        let change = Change::new(id, shards.clone(), relay_message::Message::MemberJoined(joined));
        out.extend(audience.iter().map(|to| (*to, Mail::Changed(change.clone()))));
        let admitted = Admitted {
            session,
            room: id,
            name: room.name.clone(),
            sender_id,
            members,
            version: room.version,
            shards,
        };
        out.push((shard, Mail::Admitted(Box::new(admitted))));
    }

    /// Takes a member out and tells the others. A room ends with its last one.
    pub(crate) fn leave(
        &mut self,
        id: RoomId,
        sender_id: u16,
        session: SessionId,
        out: &mut Outgoing,
    ) {
        self.changing = Some(id);
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if room.members.get(&sender_id).is_none_or(|seat| seat.session != session) {
            return;
        }
        room.members.remove(&sender_id);
        if room.members.is_empty() {
            self.by_name.remove(&room.name);
            self.rooms.remove(&id);
            return;
        }
        room.version += 1;
        let left = MemberLeft { room_version: room.version, sender_id: sender_id.into() };
        room.tell_all(id, relay_message::Message::MemberLeft(left), out);
    }

    /// Notes whether a member is muted and tells everyone.
    pub(crate) fn set_muted(
        &mut self,
        id: RoomId,
        sender_id: u16,
        muted: bool,
        out: &mut Outgoing,
    ) {
        self.changing = Some(id);
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let Some(seat) = room.members.get_mut(&sender_id).filter(|seat| seat.muted != muted) else {
            return;
        };
        seat.muted = muted;
        room.version += 1;
        let change = MemberMuted { room_version: room.version, sender_id: sender_id.into(), muted };
        room.tell_all(id, relay_message::Message::MemberMuted(change), out);
    }

    /// Everybody who sits on a shard, as [`Self::leave`] takes them.
    pub(crate) fn members_on(&self, shard: ShardIndex) -> Vec<(RoomId, u16, SessionId)> {
        let mut there = Vec::new();
        for (id, room) in &self.rooms {
            let seats = room.members.iter().filter(|(_, seat)| seat.shard == shard);
            there.extend(seats.map(|(sender_id, seat)| (*id, *sender_id, seat.session)));
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
        Some(id)
    }

    fn create(&mut self, name: Arc<str>) -> RoomId {
        let id = RoomId { home: self.home, number: self.next_number };
        self.next_number += 1;
        self.by_name.insert(name.clone(), id);
        let members = BTreeMap::new();
        self.rooms.insert(id, Entry { name, version: 0, members, last_sender_id: 0 });
        id
    }
}

impl Seat {
    fn member(&self, sender_id: u16) -> Member {
        Member { sender_id: sender_id.into(), name: self.name.clone(), muted: self.muted }
    }
}

impl Entry {
    /// The next id after the last one given that nobody has; never 0.
    fn free_sender_id(&self) -> Option<u16> {
        let after = (self.last_sender_id..=u16::MAX).skip(1);
        after.chain(1..=self.last_sender_id).find(|id| !self.members.contains_key(id))
    }

    /// The shards that have members, in order.
    fn shards(&self) -> Arc<[ShardIndex]> {
        let mut shards: Vec<_> = self.members.values().map(|seat| seat.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards.into()
    }

    fn tell_all(&self, id: RoomId, message: relay_message::Message, out: &mut Outgoing) {
        let shards = self.shards();
        let change = Change::new(id, shards.clone(), message);
        out.extend(shards.iter().map(|to| (*to, Mail::Changed(change.clone()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(session: u64, shard: ShardIndex) -> JoinRequest {
        JoinRequest {
            room: "r".into(),
            session: SessionId(session),
            shard,
            member_name: format!("member {session}"),
            muted: false,
        }
    }

    /// Joins and returns the answer; the mail before it is for the others.
    fn join(
        directory: &mut Directory,
        session: u64,
        shard: ShardIndex,
    ) -> (Vec<ShardIndex>, Admitted) {
        let mut out = Vec::new();
        directory.join(request(session, shard), &mut out);
        let Some((to, Mail::Admitted(admitted))) = out.pop() else { panic!("not admitted") };
        assert_eq!(to, shard);
        (out.into_iter().map(|(to, _)| to).collect(), *admitted)
    }

    #[test]
    fn newcomer_gets_a_snapshot_and_only_the_others_hear_of_it() {
        let mut directory = Directory::new(0, 10);
        let (told, first) = join(&mut directory, 1, 0);
        assert_eq!((told, first.sender_id, first.version, first.members.len()), (vec![], 1, 1, 0));
        let (told, second) = join(&mut directory, 2, 1);
        assert_eq!((told, second.sender_id, second.version), (vec![0], 2, 2));
        assert_eq!(second.members.iter().map(|m| m.sender_id).collect::<Vec<_>>(), [1]);
        assert_eq!(*second.shards, [0, 1]);
        assert_eq!(first.room, second.room);
    }

    #[test]
    fn room_ends_with_its_last_member_and_stale_leaves_do_nothing() {
        let mut directory = Directory::new(0, 10);
        let (_, first) = join(&mut directory, 1, 0);
        let mut out = Vec::new();
        directory.leave(first.room, first.sender_id, SessionId(99), &mut out);
        assert_eq!(directory.len(), 1);
        directory.leave(first.room, first.sender_id, SessionId(1), &mut out);
        assert!(directory.len() == 0 && directory.by_name.is_empty() && out.is_empty());
        let (_, again) = join(&mut directory, 2, 0);
        assert_ne!(again.room, first.room);
    }

    #[test]
    fn full_room_refuses_with_a_sentence() {
        let mut directory = Directory::new(0, 1);
        join(&mut directory, 1, 0);
        let mut out = Vec::new();
        directory.join(request(2, 3), &mut out);
        let [(3, Mail::Refused { code: CloseCode::RoomFull, text, .. })] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!(text, "the room has 1 members, as many as it may have");
    }

    #[test]
    fn a_panic_in_a_change_costs_that_room_alone() {
        let mut directory = Directory::new(0, 10);
        let (_, first) = join(&mut directory, 1, 0);
        directory.settle();
        assert_eq!(directory.forget_half_changed(), None);
        let other = JoinRequest { room: "other".into(), ..request(2, 1) };
        directory.join(other, &mut Vec::new());
        directory.settle();
        // Begun, and not come to its end.
        directory.set_muted(first.room, 99, true, &mut Vec::new());
        assert_eq!(directory.forget_half_changed(), Some(first.room));
        assert_eq!((directory.len(), directory.by_name.len()), (1, 1));
        assert_ne!(join(&mut directory, 3, 0).1.room, first.room, "it is another room");
    }

    #[test]
    fn who_sits_on_a_shard_is_found_in_all_rooms() {
        let mut directory = Directory::new(0, 10);
        for (session, room, shard) in [(1, "a", 0), (2, "b", 1), (3, "b", 0), (4, "b", 1)] {
            let request = JoinRequest { room: room.into(), ..request(session, shard) };
            directory.join(request, &mut Vec::new());
        }
        let room = |number| RoomId { home: 0, number };
        let there = [(room(1), 1, SessionId(2)), (room(1), 3, SessionId(4))];
        assert_eq!(directory.members_on(1), there);
        assert_eq!(directory.members_on(2), []);
    }

    #[test]
    fn sender_ids_are_unique_come_back_late_and_wrap() {
        let mut directory = Directory::new(0, usize::MAX as u32);
        let (_, first) = join(&mut directory, 1, 0);
        let (_, second) = join(&mut directory, 2, 0);
        directory.leave(first.room, second.sender_id, SessionId(2), &mut Vec::new());
        assert_eq!(join(&mut directory, 3, 0).1.sender_id, 3, "2 was just given up");
        directory.rooms.get_mut(&first.room).unwrap().last_sender_id = u16::MAX - 1;
        assert_eq!(join(&mut directory, 4, 0).1.sender_id, u16::MAX);
        assert_eq!(join(&mut directory, 5, 0).1.sender_id, 2, "1 is taken, 0 is never given");
    }
}
