//! A simulated world: a relay's shards and real quinn-proto clients in one thread, virtual
//! time and a seeded network. What happens follows from the seed alone.
//!
//! * [`world`]: the relay, the network and the time
//! * [`client`]: a client, and all that it does right or wrong
//! * [`wall`]: the time of day
//! * [`memory`]: what was asked of the allocator

// For tests, which should stop if they cannot go on.
#![allow(clippy::unwrap_used)]

pub mod client;
pub mod memory;
pub mod wall;
pub mod world;
