//! The WZP relay: voice clients connect over QUIC, join a room, and each
//! one's frames are forwarded to the rest of the room.
//!
//! * [`config`]: command line and file to one typed tree
//! * [`shard`]: the media plane, a state machine per core
//! * [`room`]: who hears whom
//! * [`session`]: one participant: life, limits, what waits for it
//! * [`net`]: sockets and threads around the shards
//! * [`kernel`]: counting packets in the kernel
//! * [`privileges`]: what threads may do
//! * [`metrics`]: every family and its source
//! * [`auth`]: who may join
//! * [`audit`]: what the audit log tells
//! * [`admin`]: start, drain, end, and HTTP

pub mod admin;
pub mod audit;
pub mod auth;
pub mod config;
pub mod kernel;
pub mod metrics;
pub mod net;
pub mod privileges;
pub mod room;
pub mod session;
pub mod shard;

/// Program and version, as told to clients.
pub const SOFTWARE: &str = concat!("wzp-relay/", env!("CARGO_PKG_VERSION"));
