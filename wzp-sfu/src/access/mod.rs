//! Who may join a room: what a shard asks, and what it is answered. The decision itself is
//! made elsewhere: a shard hands out an [`AuthRequest`], goes on forwarding, and reads the
//! [`Answer`] in its mail.

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

mod time;

pub use time::{Expiry, HORIZON, LAST, Now, after};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use wzp_proto::close::CloseCode;

use crate::count::reason::AuthFailReason;
use crate::ids::{SessionId, ShardIndex};

/// A participant that waits for a decision.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    /// Where it sits.
    pub shard: ShardIndex,
    /// Who waits.
    pub session: SessionId,
    /// Its address.
    pub ip: IpAddr,
    /// The room it wants to join.
    pub room: String,
    /// How others should call it.
    pub name: String,
    /// What it shows.
    pub token: Token,
    /// Whether that is over.
    pub decided: Decided,
}

impl AuthRequest {
    /// The answer; `None` if the shard could not wait for it and has decided by
    /// itself.
    pub fn answer(self, result: Result<Grant, Refusal>) -> Option<Answer> {
        let Self { session, ip, room, decided, .. } = self;
        decided.claim().then_some(Answer { session, ip, room, result })
    }
}

/// Whether somebody has decided about an [`AuthRequest`]. Whoever is asked and the
/// shard that can wait no longer may both be about to: what the first one says
/// counts, is counted and goes to the audit log.
#[derive(Clone, Debug, Default)]
pub struct Decided(Arc<AtomicBool>);

impl Decided {
    /// Whether it is the caller who decides. True once.
    pub fn claim(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// The answer to an [`AuthRequest`].
#[derive(Debug)]
pub struct Answer {
    /// Who waits, or went away meanwhile.
    pub session: SessionId,
    /// Its address.
    pub ip: IpAddr,
    /// The room it wants to join.
    pub room: String,
    /// What it may do, or why not even join.
    pub result: Result<Grant, Refusal>,
}

impl Answer {
    /// What of it is counted.
    pub fn outcome(&self) -> Result<(), AuthFailReason> {
        self.result.as_ref().map(drop).map_err(|refusal| refusal.reason)
    }
}

/// A token. It opens rooms to whoever has it, so it is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// From Hello.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The token itself, to check it and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

/// What a participant may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its media is forwarded.
    pub publish: bool,
    /// The others' media is forwarded to it.
    pub listen: bool,
    /// When its session ends.
    pub expires: Option<Expiry>,
    /// Who it is to whoever made the token.
    pub user: Option<Arc<str>>,
}

impl Grant {
    /// What everybody may where no token is asked for.
    pub const EVERYTHING: Self = Self { publish: true, listen: true, expires: None, user: None };
}

/// Why a participant is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the metrics and the log.
    pub reason: AuthFailReason,
    /// A sentence for whoever wrote the client. Never a part of a secret.
    pub text: String,
}

impl Refusal {
    /// For that reason, which `text` tells whoever wrote the client.
    pub fn new(reason: AuthFailReason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }

    /// The code that the session is closed with.
    pub fn code(&self) -> CloseCode {
        self.reason.into()
    }
}

/// How long a shard waits for a decision, if it has to ask at all. Shared by
/// all shards, who look at each Hello, and the authenticator, who sets it.
#[derive(Debug, Default)]
pub struct Patience(AtomicU64);

impl Patience {
    /// `None`: everybody is let in without a question.
    pub fn set(&self, patience: Option<Duration>) {
        let millis = patience.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.0.store(millis, Ordering::Relaxed);
    }

    /// As last set.
    pub fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }
}
