//! The relay's core: who hears whom, and what becomes of each packet. A selective forwarding
//! unit without input or output: packets, mail and time go in; packets, mail and a next
//! wake-up come out. It opens no socket and reads no clock, so whole relays run in a test
//! in virtual time.
//!
//! * [`shard`]: the state machine that all of it is driven through
//! * [`conn`]: one QUIC peer: its control stream, what waits for it, what it may cost
//! * [`session`]: one participant: its life, its grant, how it fares
//! * [`admission`]: who may connect, and who makes way
//! * [`room`]: who hears whom
//! * [`mail`]: what shards tell each other
//! * [`path`]: where packets come from and go to
//! * [`access`]: the question who may join, and its answer
//! * [`limits`]: what a peer may do
//! * [`count`]: what is counted
//! * [`ids`]: what shards, rooms and sessions are called

pub mod access;
pub mod admission;
pub mod conn;
pub mod count;
pub mod ids;
pub mod limits;
pub mod mail;
pub mod path;
pub mod room;
pub mod session;
pub mod shard;
