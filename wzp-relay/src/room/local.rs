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
    counts: Arc<RoomCounts>,
}

impl LocalRooms {
    pub(crate) fn new(shard: ShardIndex, counts: Arc<RoomCounts>) -> Self {
        Self { shard, rooms: Slab::new(), by_id: HashMap::new(), counts }
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
        self.rooms[key].members.push(member);
        self.set_shards(key, shards);
        key
    }

    /// Takes a member out, and the room with its last one.
    pub(crate) fn leave(&mut self, key: RoomKey, connection: usize) {
        let room = &mut self.rooms[key];
        room.members.retain(|member| member.connection != connection);
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

/// What was counted of rooms stays, also if the shard has failed with members in them.
impl Drop for LocalRooms {
    fn drop(&mut self) {
        for room in self.rooms.drain() {
            self.counts.close(room.forwarded);
        }
    }
}
