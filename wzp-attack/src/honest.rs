//! Those who must not notice an attack: two calls of two, somebody who joins each
//! second, and a monitor.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use quinn::Endpoint;
use serde::Deserialize;
use wzp_proto::control::{Hello, Role};
use wzp_testbed::netns::Host;
use wzp_testbed::process::Process;
use wzp_testbed::{binaries, http};
use wzp_transport::join::{client_config, connect, enter, leave};
use wzp_transport::trust::Trust;

use crate::scene::Target;

/// How long the calls talk before they count.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long all may take to join and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What honest users show where a token is asked for.
pub const TOKEN: &str = "honest";

/// The calls, under way.
#[derive(Debug)]
pub struct Calls(Process);

/// How the calls were.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Heard {
    /// Frames that were to be heard.
    pub frames_expected: u64,
    /// Those that were.
    pub frames_received: u64,
    /// From talker to listener.
    pub latency_us: Latency,
}

/// How late frames were, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Latency {
    /// One in a hundred is later.
    pub p99: Option<f64>,
}

impl Calls {
    /// Starts them, and waits until they are measured for `seconds`.
    ///
    /// # Errors
    /// Somebody cannot join.
    pub fn start(callers: &Host, target: &Target, time: Duration) -> Result<Self> {
        let mut command = callers.namespace.command(binaries::client());
        command.args([
            "load",
            "--json",
            "--rooms",
            "2",
            "--members",
            "2",
            "--room-prefix",
            "honest",
        ]);
        command.args(["--pin", &target.pin.to_string(), "--token", TOKEN]);
        command.args(["--warm-up", &WARM_UP.as_secs().to_string()]);
        command.args(["--duration", &time.as_secs().to_string(), &target.relay.to_string()]);
        let calls = Self(Process::start("honest calls", command)?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = calls.0.next_line(deadline)?;
            let line = line.with_context(|| format!("the calls ended: {}", calls.0.stderr()))?;
            if line.contains("\"measuring\"") {
                return Ok(calls);
            }
        }
    }

    /// Waits until they are over.
    ///
    /// # Errors
    /// There is no result.
    pub fn finish(mut self, time: Duration) -> Result<Heard> {
        self.0.wait(time + PATIENCE)?;
        let text = self.0.rest_of_stdout();
        let last =
            text.lines().last().with_context(|| format!("no result: {}", self.0.stderr()))?;
        let heard: Heard = serde_json::from_str(last)?;
        ensure!(heard.frames_expected > 0, "nobody talked: {}", self.0.stderr());
        Ok(heard)
    }
}

/// Attempts, and how long the slowest that succeeded took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    /// How many there were.
    pub made: u32,
    /// Those that succeeded.
    pub succeeded: u32,
    /// The slowest of those.
    pub slowest: Duration,
}

impl Attempts {
    fn note(&mut self, took: Option<Duration>) {
        self.made += 1;
        if let Some(took) = took {
            self.succeeded += 1;
            self.slowest = self.slowest.max(took);
        }
    }
}

/// Somebody who joins each second, and leaves again, until `end`.
pub async fn newcomers(target: Target, end: Instant) -> Attempts {
    let mut attempts = Attempts::default();
    while Instant::now() < end {
        let began = Instant::now();
        let joined = join_and_leave(&target).await;
        if let Err(error) = &joined {
            eprintln!("a newcomer: {error:#}");
        }
        attempts.note(joined.is_ok().then(|| began.elapsed()));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    attempts
}

async fn join_and_leave(target: &Target) -> Result<()> {
    let any: SocketAddr = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).into();
    let endpoint = Endpoint::client(any)?;
    let config = client_config(Trust::Pinned(target.pin))?;
    let connection = connect(&endpoint, config, target.relay, "relay").await?;
    let joined = enter(endpoint, connection, hello("newcomers", TOKEN)).await?;
    leave(&joined.endpoint, &joined.connection).await;
    Ok(())
}

/// A Hello for that room.
pub fn hello(room: &str, token: &str) -> Hello {
    let role = Role::Participant.into();
    Hello { role, room: room.into(), token: token.into(), ..Hello::default() }
}

/// Who asks for the relay's health each second, until `end`.
pub fn monitor(target: &Target, end: Instant) -> Attempts {
    let mut attempts = Attempts::default();
    while Instant::now() < end {
        let began = Instant::now();
        let answered = http::get(target.http, "/health");
        if let Err(error) = &answered {
            eprintln!("the monitor: {error:#}");
        }
        // Who asks for a password answers, too.
        attempts.note(answered.is_ok().then(|| began.elapsed()));
        std::thread::sleep(Duration::from_secs(1));
    }
    attempts
}
