//! The control plane: what runs beside the shards on an ordinary async
//! runtime, and never on the packet path.

pub mod http;
pub mod serve;
