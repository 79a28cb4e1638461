//! Who may join a room: the token in Hello, and what decides about it.
//!
//! The decision is made on the control plane and never on a shard: a shard hands
//! out an [`AuthRequest`](wzp_sfu::access::AuthRequest), goes on forwarding, and reads the answer in its mail.
//!
//! * [`queue`]: from the shards to the control plane, bounded
//! * [`authenticator`]: takes requests, answers them, can be reloaded
//! * `jwt`, `claims`, `keys`, `fitness`, `jwks`: the relay decides by signature and claims
//! * `webhook`, `breaker`, `cache`, `turns`: a service of the operator decides
//! * `http`, `bounded`: other servers are asked, and cost nobody more than they may
//! * `source`, `shares`: no participant costs the others theirs
//! * `time`: what others say about time, bounded
//! * [`stats`]: what is counted

// Every number here may be a stranger's.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod authenticator;
mod bounded;
pub mod breaker;
mod cache;
mod claims;
mod fitness;
mod http;
mod jwks;
mod jwt;
mod keys;
pub mod queue;
mod shares;
mod source;
pub mod stats;
mod time;
mod turns;
mod webhook;

pub use claims::Claims;
pub use keys::KeySet;
pub use webhook::{Decision, Fault, interpret};

/// Anna wants to join the lobby.
#[cfg(test)]
fn request(token: &str) -> wzp_sfu::access::AuthRequest {
    use wzp_sfu::access::{AuthRequest, Decided, Token};
    use wzp_sfu::ids::SessionId;

    AuthRequest {
        shard: 0,
        session: SessionId(1),
        ip: [127, 0, 0, 1].into(),
        room: "lobby".into(),
        name: "anna".into(),
        token: Token::new(token.into()),
        decided: Decided::default(),
    }
}
