//! Packets of any bytes for any number of shards: a shard that exists, the same
//! for all packets whose id begins with that byte, and nothing read past the
//! end.

#![no_main]

use std::num::NonZeroU32;

use libfuzzer_sys::fuzz_target;
use wzp_common::steering::{LONG_HEADER, LONG_HEADER_ID, SHORT_HEADER_ID, shard_of};

fuzz_target!(|input: (u8, &[u8])| {
    let (shards, packet) = input;
    let shards = NonZeroU32::MIN.saturating_add(shards.into());
    let shard = |packet: &[u8]| shard_of(|offset| packet.get(offset as usize).copied(), shards);
    let Some(first) = packet.first() else {
        assert_eq!(shard(packet), None);
        return;
    };
    let id = if first & LONG_HEADER == 0 { SHORT_HEADER_ID } else { LONG_HEADER_ID } as usize;
    match packet.get(id) {
        Some(byte) => {
            assert_eq!(shard(packet), Some(u32::from(*byte) % shards));
            assert_eq!(shard(&packet[..=id]), shard(packet));
            assert_eq!(shard(&packet[..id]), None);
        }
        None => assert_eq!(shard(packet), None),
    }
});
