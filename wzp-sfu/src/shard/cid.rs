//! Connection ids that say which shard they belong to: the first byte is
//! congruent to the shard's number modulo the number of shards. The kernel
//! steers by that byte, so a client that changes its address stays where its
//! connection is.

use std::num::NonZeroU32;
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use wzp_common::steering;

use crate::ids::ShardIndex;

/// Length of the ids the relay chooses. Seven random bytes make collisions
/// and guesses hopeless; longer ones would ride in every packet.
const LENGTH: usize = 8;

/// Random ids for one shard.
#[derive(Debug)]
pub(crate) struct ShardCids {
    shard: u8,
    shards: u16,
    rng: StdRng,
}

impl ShardCids {
    pub(crate) fn new(shard: ShardIndex, shards: usize, rng: StdRng) -> Self {
        Self { shard: shard as u8, shards: shards as u16, rng }
    }
}

impl ConnectionIdGenerator for ShardCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; LENGTH];
        self.rng.fill_bytes(&mut id);
        // Uniform over the bytes that are congruent to the shard.
        let choices = (256 - u16::from(self.shard)).div_ceil(self.shards);
        id[0] = (u16::from(self.shard) + self.shards * self.rng.random_range(0..choices)) as u8;
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The shard a packet belongs to, by the first byte of its destination
/// connection id: ours in a packet of an established connection, the client's
/// random choice in its first ones. The kernel steers by the same rule.
pub(crate) fn shard_of(packet: &[u8], shards: usize) -> Option<ShardIndex> {
    let byte = |offset: u32| packet.get(offset as usize).copied();
    let shard = steering::shard_of(byte, NonZeroU32::new(shards as u32)?)?;
    Some(shard as ShardIndex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn ids_name_their_shard_for_any_number_of_shards() {
        for shards in [1, 2, 3, 7, 64, 255, 256] {
            for shard in [0, shards / 2, shards - 1] {
                let mut cids = ShardCids::new(shard, shards, StdRng::seed_from_u64(1));
                for _ in 0..200 {
                    let id = cids.generate_cid();
                    let mut short = vec![0x40];
                    short.extend_from_slice(&id);
                    let mut long = vec![0xc0, 0, 0, 0, 1, LENGTH as u8];
                    long.extend_from_slice(&id);
                    assert_eq!(shard_of(&short, shards), Some(shard));
                    assert_eq!(shard_of(&long, shards), Some(shard));
                }
            }
        }
        assert_eq!(shard_of(&[], 2), None);
        assert_eq!(shard_of(&[0xc0, 0, 0, 0, 1, 0], 2), None);
    }
}
