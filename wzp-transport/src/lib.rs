//! QUIC set-up shared by everyone who speaks the WZP protocol.
//!
//! * [`identity`]: who a relay is, its certificate and key
//! * [`trust`]: how a client decides that a relay is the right one
//! * [`congestion`]: congestion control for voice
//! * [`parameters`]: QUIC transport parameters fit for voice, for both sides
//! * [`address`]: `host:port` as users write it
//! * [`join`]: the client's way into a room
//!
//! The relay's own packet loop is not here: it drives `quinn-proto` itself.

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
pub mod congestion;
pub mod identity;
pub mod join;
pub mod parameters;
pub mod trust;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one crypto provider of the project, aws-lc-rs.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
