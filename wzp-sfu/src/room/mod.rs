//! Who hears whom.
//!
//! A room's members may sit on any shard. Its *home*, the shard that the
//! room's name hashes to, owns the [`directory`] entry: sender ids, the member
//! list and its version. Every shard with members keeps a [`local`] view: its
//! own members and which other shards have some. Forwarding reads the local
//! view only; the home is asked when somebody joins, leaves or mutes.

pub(crate) mod directory;
mod entry;
pub(crate) mod local;
pub(crate) mod passed;

use wzp_proto::placement::PlacementKey;

use crate::ids::ShardIndex;

/// The shard that owns the directory entry of the room of that name.
pub(crate) fn home_of(room: &str, key: &PlacementKey, shards: usize) -> ShardIndex {
    (key.hash(room) % shards as u64) as ShardIndex
}
