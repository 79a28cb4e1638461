//! Sockets and threads around the shards: everything that a shard, being a
//! state machine, must not do itself.

mod datapath;
pub mod drops;
mod failures;
pub mod run;
mod send;
pub mod send_drops;
pub mod socket;
mod udp;
