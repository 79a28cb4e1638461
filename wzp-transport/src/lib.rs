//! QUIC set-up shared by everyone who speaks the WZP protocol.
//!
//! * [`congestion`]: congestion control for voice
//! * [`parameters`]: QUIC transport parameters fit for voice, for both sides
//! * [`address`]: `host:port` as users write it
//!
//! With the feature `trust`:
//!
//! * [`fingerprint`]: what certificates are told apart by
//! * [`trust`]: how a client decides that a relay is the right one
//!
//! With the feature `identity`, which implies `trust`:
//!
//! * [`identity`]: who a relay is, its certificate and key
//! * [`chain`]: what clients will say of its certificate
//!
//! With the feature `client`, which implies `trust`:
//!
//! * [`connect`]: to the first address of a relay that answers
//! * [`join`]: the client's way into a room
//! * [`delivery`]: whether a relay receives what a client sends
//! * names of relays are looked up
//!
//! The relay's own packet loop is not here: it drives `quinn-proto` itself. Without
//! `client` there is neither `quinn` nor `tokio`.

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

pub mod address;
#[cfg(feature = "identity")]
pub mod chain;
pub mod congestion;
#[cfg(feature = "client")]
pub mod connect;
#[cfg(feature = "client")]
pub mod delivery;
#[cfg(feature = "client")]
mod dial;
#[cfg(feature = "trust")]
pub mod fingerprint;
#[cfg(feature = "identity")]
pub mod identity;
#[cfg(feature = "client")]
pub mod join;
pub mod parameters;
#[cfg(feature = "trust")]
pub mod trust;
#[cfg(feature = "client")]
mod unreachable;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one crypto provider of the project, aws-lc-rs.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
