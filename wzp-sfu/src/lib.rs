//! The relay's core: who hears whom, and what becomes of each packet. A selective forwarding
//! unit without input or output: packets, mail and time go in; packets, mail and a next
//! wake-up come out. It opens no socket and reads no clock, so whole relays run in a test
//! in virtual time.
//!
//! * [`shard`]: the state machine that all of it is driven through
//! * [`session`]: one participant: life, limits, what waits for it
//! * [`room`]: who hears whom
//! * [`mail`]: what shards tell each other
//! * [`access`]: the question who may join, and its answer
//! * [`limits`]: what a peer may do
//! * [`count`]: what is counted
//! * [`ids`]: what shards, rooms and sessions are called

pub mod access;
pub mod count;
pub mod ids;
pub mod limits;
pub mod mail;
pub mod room;
pub mod session;
pub mod shard;
