//! The WZP wire protocol, version 2: how participants and relays talk.
//!
//! This crate knows bytes and their meaning. It opens no socket, reads no
//! clock and allocates only what a length check has allowed. `docs/protocol.md`
//! in the repository is the same protocol for readers.
//!
//! * [`media`]: the header of a media datagram
//! * [`control`]: the messages of the control stream
//! * [`membership`]: who is in a room, cut into such messages
//! * [`placement`]: where a room has its home
//! * [`framing`]: how messages are laid into the stream
//! * [`settling`]: when a frame that has not come is lost
//! * [`close`]: the codes that end a session

// Every number here may be a peer's.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod close;
pub mod control;
pub mod framing;
pub mod media;
pub mod membership;
pub mod placement;
pub mod settling;

/// The TLS application protocol (RFC 7301) of this version.
pub const ALPN: &[u8] = b"wzp/2";

/// The UDP port a relay listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 4433;
