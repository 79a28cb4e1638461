//! The control plane: what runs beside the shards on an ordinary async
//! runtime, and never on the packet path.

mod announce;
pub mod api;
pub mod control;
pub mod ctl;
pub mod drain;
pub mod health;
pub mod lists;
mod recent;
pub mod reload;
pub mod serve;
mod signals;
pub mod socket;
pub mod systemd;
pub mod watch;
mod watchdog;
