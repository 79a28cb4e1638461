//! One shard's view of the rooms that have members on it. This is what a
//! packet's way out is looked up in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::{RoomId, ShardIndex};
use crate::metrics::rooms::{RoomCounts, RoomHandle};

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
    pub(crate) members: Vec<LocalMember>,
    /// The other shards that have members.
    pub(crate) other_shards: Vec<ShardIndex>,
    pub(crate) forwarded: RoomHandle,
    pub(crate) talkers: Talkers,
}

/// Who has talked lately, here or on another shard.
#[derive(Debug, Default)]
pub(crate) struct Talkers(Vec<(u16, Instant)>);

/// Whoever sent no frame for so long does not talk: five frames of 20 ms.
pub(crate) const TALKS_ON: Duration = Duration::from_millis(100);

impl Talkers {
    /// `sender` talks now; how many do, it included.
    pub(crate) fn heard(&mut self, sender: u16, now: Instant) -> usize {
        self.0.retain(|(other, at)| *other != sender && now.duration_since(*at) < TALKS_ON);
        self.0.push((sender, now));
        self.0.len()
    }
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
            let (members, other_shards) = (Vec::new(), Vec::new());
            self.rooms.insert(LocalRoom {
                id,
                members,
                other_shards,
                forwarded,
                talkers: Talkers::default(),
            })
        });
        let members = &mut self.rooms[key].members;
        if self.places.len() <= member.connection {
            self.places.resize(member.connection + 1, 0);
        }
        self.places[member.connection] = members.len();
        members.push(member);
        self.set_shards(key, shards);
        key
    }

    /// Takes a member out, and the room with its last one.
    pub(crate) fn leave(&mut self, key: RoomKey, connection: usize) {
        let room = &mut self.rooms[key];
        let place = self.places[connection];
        room.members.swap_remove(place);
        if let Some(moved) = room.members.get(place) {
            self.places[moved.connection] = place;
        }
        if room.members.is_empty() {
            let room = self.rooms.remove(key);
            self.by_id.remove(&room.id);
            self.counts.close(room.forwarded);
        }
    }

    pub(crate) fn key(&self, id: RoomId) -> Option<RoomKey> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn room(&self, key: RoomKey) -> &LocalRoom {
        &self.rooms[key]
    }

    /// Notes that a member talks; how many do.
    pub(crate) fn heard(&mut self, key: RoomKey, sender: u16, now: Instant) -> usize {
        self.rooms[key].talkers.heard(sender, now)
    }

    /// Notes which shards have members now.
    pub(crate) fn set_shards(&mut self, key: RoomKey, shards: &[ShardIndex]) {
        let others = shards.iter().copied().filter(|shard| *shard != self.shard);
        let room = &mut self.rooms[key];
        room.other_shards.clear();
        room.other_shards.extend(others);
    }
}

#[cfg(test)]
mod tests {
    use wzp_telemetry::settings::RoomLabel;

    use super::*;

    #[test]
    fn whoever_leaves_takes_nobody_else_out() {
        let mut rooms = LocalRooms::new(0, Arc::new(RoomCounts::new(10, RoomLabel::Name)));
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
