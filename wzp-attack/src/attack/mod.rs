//! Every attack: its name, what it sends, what the relay is set up with, and how it
//! goes on.
//!
//! * `packets`: from strangers who finish no handshake
//! * `handshakes`: connections for the sake of having them
//! * `control`: on the control stream, with and without a token
//! * `media`: by a guest in a room
//! * `web`: against the listener for metrics and health

mod control;
mod handshakes;
mod media;
mod packets;
mod web;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use quinn::{ClientConfig, Endpoint};
use wzp_testbed::service::Service;
use wzp_transport::join::{Ended, JoinError, Joined, client_config, connect, enter};
use wzp_transport::trust::Trust;

use crate::honest::hello;
use crate::scene::{Scene, Target};

/// One way to do harm.
#[derive(Debug)]
pub struct Attack {
    /// For the command line and the table.
    pub name: &'static str,
    /// What the attacker sends, as the table says it.
    pub sends: &'static str,
    /// What the relay is started with.
    pub prepare: fn(&Scene) -> Result<Prepared>,
    /// Attacks until the time is over.
    pub run: fn(Target, Instant) -> Attacking,
}

/// An attack under way.
pub type Attacking = Pin<Box<dyn Future<Output = Result<Sent>>>>;

/// What a relay is started with, and what it needs around it.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Its configuration; `[metrics]` is there already.
    pub config: String,
    /// Who decides about tokens.
    pub service: Option<Service>,
}

/// What an attack did, and what became of it: counts by their names.
#[derive(Clone, Debug, Default)]
pub struct Sent(BTreeMap<String, u64>);

impl Sent {
    fn count(&mut self, what: impl Into<String>, number: u64) {
        *self.0.entry(what.into()).or_default() += number;
    }

    fn note(&mut self, result: Result<(), JoinError>) {
        match result {
            Ok(()) => self.count("joined", 1),
            Err(error) => self.count(word(&error), 1),
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> =
            self.0.iter().map(|(what, number)| format!("{number} {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// All there are.
pub const ALL: &[Attack] = &[
    Attack {
        name: "none",
        sends: "nothing, for comparison",
        prepare: nothing_special,
        run: |_, end| {
            Box::pin(async move {
                wait(end).await;
                Ok(Sent::default())
            })
        },
    },
    packets::INITIALS,
    packets::GARBAGE,
    packets::UNKNOWN,
    handshakes::HALF_OPEN,
    handshakes::HOUSEHOLD,
    control::PILE_UP,
    control::ODD_TOKENS,
    control::JOINS,
    control::MUTES,
    media::FLOOD,
    media::UNREAD,
    web::IDLE,
    web::UNREAD,
    web::PASSWORDS,
];

fn nothing_special(_: &Scene) -> Result<Prepared> {
    Ok(Prepared::default())
}

async fn wait(end: Instant) {
    tokio::time::sleep_until(end.into()).await;
}

/// A client's side of QUIC, over which strangers make many connections.
struct Stranger {
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Stranger {
    fn at(target: &Target, address: std::net::IpAddr) -> Result<Self> {
        let endpoint = Endpoint::client((address, 0).into())?;
        Ok(Self { endpoint, config: client_config(Trust::Pinned(target.pin))? })
    }

    async fn connect(&self, target: &Target) -> Result<quinn::Connection, JoinError> {
        let is_v4 = self.endpoint.local_addr().is_ok_and(|address| address.is_ipv4());
        let relay = if is_v4 { target.relay } else { target.relay_v6 };
        connect(&self.endpoint, self.config.clone(), relay, "relay").await
    }

    async fn join(&self, target: &Target, room: &str, token: &str) -> Result<Joined, JoinError> {
        let connection = self.connect(target).await?;
        enter(self.endpoint.clone(), connection, hello(room, token)).await
    }
}

/// A failure in a word.
fn word(error: &JoinError) -> String {
    match error {
        JoinError::Ended(Ended::Closed { code, .. }) => code.name().to_owned(),
        JoinError::Ended(Ended::Refused) => "refused".to_owned(),
        JoinError::Ended(Ended::TimedOut) | JoinError::NoWelcome => "unanswered".to_owned(),
        _ => "failed".to_owned(),
    }
}

/// Ticks that often until the time is over.
async fn each(interval: Duration, end: Instant, mut act: impl AsyncFnMut()) {
    let mut clock = tokio::time::interval(interval);
    while Instant::now() < end {
        clock.tick().await;
        act().await;
    }
}
