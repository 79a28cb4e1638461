//! The WZP relay: voice clients connect over QUIC, join a room, and each
//! one's frames are forwarded to the rest of the room.
//!
//! * [`cli`]: the command line
//! * [`config`]: flags, environment and file to one typed tree
//! * [`check`]: whether a relay could start with them here
//! * [`net`]: sockets and threads around the shards
//! * [`accounts`]: what the kernel counts, by session and room
//! * [`privileges`]: what threads may do
//! * [`metrics`]: every family and its source
//! * [`auth`]: who may join
//! * [`audit`]: what the audit log tells
//! * [`events`]: what followers are told as it happens
//! * [`build_info`]: what the program was built from
//! * [`mailbox`]: how the control plane reaches shards
//! * [`paths`]: names of files in the state directory
//! * [`words`]: numbers and times as they are shown
//! * [`shell`]: words of commands that are shown
//! * [`output`]: what commands print
//! * [`admin`]: start, drain, end, and HTTP
//! * [`doctor`]: whether a host is fit for a relay

// These panic where nothing can be printed: [`output`] does not.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod accounts;
pub mod admin;
pub mod audit;
pub mod auth;
pub mod build_info;
mod check;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod events;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod output;
pub mod paths;
pub mod privileges;
pub mod shell;
pub mod words;

/// Program and version, as told to clients.
pub const SOFTWARE: &str = concat!("wzp-relay/", env!("CARGO_PKG_VERSION"));
