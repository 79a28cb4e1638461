//! One shard's view of the rooms that have members on it. This is what a
//! packet's way out is looked up in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::passed::Passed;
use crate::count::rooms::{RoomCounts, RoomHandle};
use crate::ids::{RoomId, ShardIndex};

/// Position of a room in [`LocalRooms`], kept by each member's session so that
/// a packet from a member here needs no hashing.
pub(crate) type RoomKey = usize;

/// A member that sits on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalMember {
    /// Index of the member's connection.
    pub(crate) connection: usize,
    /// The id it sends under.
    pub(crate) sender_id: u16,
    /// Whether the others' media is for it.
    pub(crate) listens: bool,
}

/// A room with members on this shard.
#[derive(Debug)]
pub(crate) struct LocalRoom {
    pub(crate) id: RoomId,
    pub(crate) name: Arc<str>,
    pub(crate) members: Vec<LocalMember>,
    /// Their connections, by sender id.
    pub(crate) by_sender: HashMap<u16, usize>,
    /// Where its frames go besides the members here: the other shards that have some.
    pub(crate) routes: Vec<ShardIndex>,
    pub(crate) forwarded: RoomHandle,
    pub(crate) talkers: Talkers,
}

/// Who has talked lately, here or on another shard.
#[derive(Debug, Default)]
pub(crate) struct Talkers {
    /// Those who talk.
    talking: Vec<(u16, Talker)>,
    /// Those who have stopped. Changed when somebody stops or begins again, and not per
    /// frame.
    stopped: HashMap<u16, Talker>,
}

/// One who has talked.
#[derive(Debug)]
struct Talker {
    /// When it was heard last.
    last: Instant,
    /// What of it the members here were sent.
    passed: Box<Passed>,
}

/// Whoever sent no frame for so long does not talk: five frames of 20 ms.
pub(crate) const TALKS_ON: Duration = Duration::from_millis(100);

/// Reports on a sender are taken for so long after its last frame: it is in them
/// for 5 s, and they may be on their way for as long.
const REPORTED: Duration = Duration::from_secs(10);

/// Room for so many who have stopped, at least.
const FEW: usize = 32;

impl Talkers {
    /// A frame of `sender` with that number came now; how many talk, it included.
    pub(crate) fn heard(&mut self, sender: u16, sequence: u32, now: Instant) -> usize {
        let Self { talking, stopped } = self;
        let fell_silent = |(other, talker): &mut (u16, Talker)| {
            *other != sender && now.duration_since(talker.last) >= TALKS_ON
        };
        for (other, talker) in talking.extract_if(.., fell_silent) {
            stop(stopped, other, talker);
        }
        if let Some((_, talker)) = talking.iter_mut().find(|(other, _)| *other == sender) {
            talker.last = now;
            talker.passed.note(sequence);
            return talking.len();
        }
        let known = stopped.remove(&sender).map(|talker| talker.passed);
        let passed = match known {
            Some(mut passed) => {
                passed.note(sequence);
                passed
            }
            None => Box::new(Passed::new(sequence)),
        };
        talking.push((sender, Talker { last: now, passed }));
        talking.len()
    }

    /// What of a sender the members here were sent, if a report on it makes sense now.
    fn passed(&self, sender: u16, now: Instant) -> Option<&Passed> {
        let talking = self.talking.iter().find(|(other, _)| *other == sender);
        let talker = talking.map(|(_, talker)| talker).or_else(|| self.stopped.get(&sender))?;
        let is_recent = now.saturating_duration_since(talker.last) < REPORTED;
        is_recent.then_some(&*talker.passed)
    }
}

/// Notes that a sender has stopped. When there is no room for one more, whoever is out
/// of date is forgotten, and there is room for as many as are left: so each note costs
/// the same on average.
fn stop(stopped: &mut HashMap<u16, Talker>, sender: u16, talker: Talker) {
    if stopped.len() == stopped.capacity() {
        let is_recent =
            |known: &Talker| talker.last.saturating_duration_since(known.last) < REPORTED;
        stopped.retain(|_, known| is_recent(known));
        let room = (2 * stopped.len()).max(FEW);
        stopped.shrink_to(room);
        stopped.reserve(room - stopped.len());
    }
    stopped.insert(sender, talker);
}

/// All rooms with members on one shard.
#[derive(Debug)]
pub(crate) struct LocalRooms {
    shard: ShardIndex,
    rooms: Slab<LocalRoom>,
    by_id: HashMap<RoomId, RoomKey>,
    /// Where a member stands among its room's, by the index of its connection. A member
    /// that leaves is not looked for: a thousand may leave at once.
    places: Vec<usize>,
    counts: Arc<RoomCounts>,
}

impl LocalRooms {
    pub(crate) fn new(shard: ShardIndex, counts: Arc<RoomCounts>) -> Self {
        let (rooms, by_id, places) = (Slab::new(), HashMap::new(), Vec::new());
        Self { shard, rooms, by_id, places, counts }
    }

    /// Enters a member, and the room with its first one.
    pub(crate) fn enter(
        &mut self,
        id: RoomId,
        name: &Arc<str>,
        shards: &[ShardIndex],
        member: LocalMember,
    ) -> RoomKey {
        let key = *self.by_id.entry(id).or_insert_with(|| {
            let forwarded = self.counts.open(name);
            self.rooms.insert(LocalRoom {
                id,
                name: name.clone(),
                members: Vec::new(),
                by_sender: HashMap::new(),
                routes: Vec::new(),
                forwarded,
                talkers: Talkers::default(),
            })
        });
        let room = &mut self.rooms[key];
        room.by_sender.insert(member.sender_id, member.connection);
        if self.places.len() <= member.connection {
            self.places.resize(member.connection + 1, 0);
        }
        self.places[member.connection] = room.members.len();
        room.members.push(member);
        self.set_routes(key, shards);
        key
    }

    /// Takes a member out, and the room with its last one.
    pub(crate) fn leave(&mut self, key: RoomKey, connection: usize) {
        let room = &mut self.rooms[key];
        let place = self.places.get(connection).copied();
        let here = |place: &usize| {
            room.members.get(*place).is_some_and(|member| member.connection == connection)
        };
        if let Some(place) = place.filter(here) {
            let gone = room.members.swap_remove(place);
            room.by_sender.remove(&gone.sender_id);
            if let Some(moved) = room.members.get(place) {
                self.places[moved.connection] = place;
            }
        }
        if room.members.is_empty() {
            let room = self.rooms.remove(key);
            self.by_id.remove(&room.id);
            self.counts.close(room.forwarded);
        }
    }

    /// The connections of a room's members here.
    pub(crate) fn connections(&self, id: RoomId) -> Vec<usize> {
        let room = self.key(id).map(|key| &self.rooms[key]);
        room.into_iter().flat_map(|room| &room.members).map(|member| member.connection).collect()
    }

    pub(crate) fn key(&self, id: RoomId) -> Option<RoomKey> {
        self.by_id.get(&id).copied()
    }

    /// What a room is called, if there is one.
    pub(crate) fn name(&self, key: RoomKey) -> Option<Arc<str>> {
        self.rooms.get(key).map(|room| room.name.clone())
    }

    pub(crate) fn room(&self, key: RoomKey) -> &LocalRoom {
        &self.rooms[key]
    }

    /// Notes that a frame of a member with that number is for the others; how many
    /// talk.
    pub(crate) fn heard(
        &mut self,
        key: RoomKey,
        sender: u16,
        sequence: u32,
        now: Instant,
    ) -> usize {
        self.rooms[key].talkers.heard(sender, sequence, now)
    }

    /// What of a member the others here were sent, if it has talked so lately that
    /// reports on it make sense.
    pub(crate) fn passed(&self, key: RoomKey, sender: u16, now: Instant) -> Option<&Passed> {
        self.rooms[key].talkers.passed(sender, now)
    }

    /// Notes which shards have members now: those that are others are the routes.
    pub(crate) fn set_routes(&mut self, key: RoomKey, shards: &[ShardIndex]) {
        let others = shards.iter().copied().filter(|shard| *shard != self.shard);
        let room = &mut self.rooms[key];
        room.routes.clear();
        room.routes.extend(others);
    }
}

/// What was counted of rooms stays, also if the shard has failed with members in them.
impl Drop for LocalRooms {
    fn drop(&mut self) {
        for room in self.rooms.drain() {
            self.counts.close(room.forwarded);
        }
    }
}

#[cfg(test)]
mod tests {
    use wzp_telemetry::settings::RoomLabel;

    use super::*;

    #[test]
    fn who_has_talked_is_known_for_ten_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut talkers = Talkers::default();
        // 1 talks for 20 s, 2 for the first of them.
        for tick in 0..1000 {
            if tick < 50 {
                talkers.heard(2, tick as u32, at(tick * 20));
            }
            let both = if tick < 54 { 2 } else { 1 };
            assert_eq!(talkers.heard(1, tick as u32, at(tick * 20)), both, "tick {tick}");
        }
        let cases = [
            (1, 19_980, true),
            (1, 29_979, true),
            (1, 29_980, false),
            (2, 10_979, true),
            (2, 10_980, false),
            (3, 0, false),
        ];
        for (sender, ms, heard) in cases {
            assert_eq!(
                talkers.passed(sender, at(ms)).is_some(),
                heard,
                "sender {sender} at {ms} ms"
            );
        }
    }

    #[test]
    fn frames_before_a_pause_are_remembered_after_it() {
        let start = Instant::now();
        let mut talkers = Talkers::default();
        for (sequence, ms) in [(0, 0), (1, 20), (3, 5_000), (4, 5_020)] {
            let at = start + Duration::from_millis(ms);
            talkers.heard(7, sequence, at);
            talkers.heard(8, sequence, at);
            assert_eq!(talkers.stopped.len(), 0, "who talks again has not stopped");
        }
        let passed = talkers.passed(7, start + Duration::from_secs(6)).unwrap();
        assert_eq!((passed.among(5, 4), passed.newest()), (Some(4), 4));
    }

    #[test]
    fn those_who_stopped_long_ago_are_forgotten() {
        let start = Instant::now();
        let mut talkers = Talkers::default();
        // One after the other, 5 a second: 50 are remembered.
        for sender in 1..=10_000 {
            talkers.heard(sender, 0, start + Duration::from_millis(200) * u32::from(sender));
            assert!(talkers.stopped.capacity() <= 256, "{}", talkers.stopped.capacity());
        }
        let now = start + Duration::from_secs(2000);
        let known = (1..=10_000).filter(|sender| talkers.passed(*sender, now).is_some()).count();
        assert_eq!(known, 50);
    }

    #[test]
    fn members_are_found_by_sender_id_until_they_leave() {
        let counts = RoomCounts::new(9, RoomLabel::Name, Duration::ZERO);
        let mut rooms = LocalRooms::new(0, Arc::new(counts));
        let id = RoomId { home: 0, number: 1 };
        let member =
            |n: u16| LocalMember { connection: n.into(), sender_id: 100 + n, listens: true };
        let mut key = 0;
        for n in 0..3 {
            key = rooms.enter(id, &"a".into(), &[0], member(n));
        }
        rooms.leave(key, 1);
        rooms.leave(key, 7);
        let room = rooms.room(key);
        assert_eq!(room.members, [member(0), member(2)]);
        let found: Vec<_> = (100..103).map(|id| room.by_sender.get(&id).copied()).collect();
        assert_eq!(found, [Some(0), None, Some(2)]);
    }

    #[test]
    fn whoever_leaves_takes_nobody_else_out() {
        let mut rooms =
            LocalRooms::new(0, Arc::new(RoomCounts::new(10, RoomLabel::Name, Duration::ZERO)));
        let name: Arc<str> = "r".into();
        let enter = |rooms: &mut LocalRooms, number: u64, connection: usize| {
            let id = RoomId { home: 0, number };
            let member = LocalMember { connection, sender_id: 1, listens: true };
            rooms.enter(id, &name, &[0], member)
        };
        let keys: Vec<_> = (0..10).map(|n| enter(&mut rooms, n as u64 % 2, n)).collect();
        // Last, first, in the middle, one that was moved, and one of a used number.
        for (leaves, comes) in [(8, None), (0, Some(8)), (4, None), (6, Some(0)), (8, None)] {
            rooms.leave(keys[0], leaves);
            comes.map(|connection| enter(&mut rooms, 0, connection));
        }
        let connections = |key| {
            let members = rooms.room(key).members.iter();
            let mut connections: Vec<_> = members.map(|member| member.connection).collect();
            connections.sort_unstable();
            connections
        };
        assert_eq!(connections(keys[0]), [0, 2]);
        assert_eq!(connections(keys[1]), [1, 3, 5, 7, 9]);
        rooms.leave(keys[0], 2);
        rooms.leave(keys[0], 0);
        assert_eq!(rooms.key(RoomId { home: 0, number: 0 }), None);
        assert_eq!(rooms.room(keys[1]).members.len(), 5);
    }
}
