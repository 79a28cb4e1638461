//! The control plane: what runs beside the shards on an ordinary async
//! runtime, and never on the packet path.

pub mod flows;
pub mod health;
pub mod serve;
pub mod socket;
