//! A client process: `wzp-client`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::netns::Namespace;
use crate::process::Process;

/// How to start a client.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The client's program.
    pub program: PathBuf,
    /// Where it runs; the machine itself if `None`.
    pub namespace: Option<&'a Namespace>,
    /// Where the relay listens.
    pub relay: SocketAddr,
    /// The relay's fingerprint.
    pub pin: String,
    /// The room to join.
    pub room: String,
    /// How others see it.
    pub name: String,
}

impl Launch<'_> {
    /// The command line; `arguments` say what the client does in the room.
    pub fn command(&self, arguments: &[OsString]) -> Command {
        let mut command = match self.namespace {
            Some(namespace) => namespace.command(&self.program),
            None => Command::new(&self.program),
        };
        command
            .args(["--json", "--pin", &self.pin, "--room", &self.room, "--name", &self.name])
            .args(arguments)
            .arg(self.relay.to_string());
        command
    }
}

/// A client that runs. Killed when dropped.
#[derive(Debug)]
pub struct Client {
    name: String,
    process: Process,
}

/// What a client sums up at its end.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    /// The number the relay gave it in the room.
    pub sender_id: u16,
    /// Frames it sent.
    pub frames_sent: u64,
    /// Frames it received, of all talkers.
    pub frames_received: u64,
    /// Whom it heard.
    pub talkers: Vec<Talker>,
    /// Round trip to the relay, in milliseconds.
    pub rtt_ms: f64,
    /// The sessions before the last.
    pub interruptions: Vec<Interruption>,
    /// The longest that the machine kept it from sending or playing in time, in
    /// milliseconds.
    pub held_up_ms: f64,
    /// Why the session ended.
    pub end: String,
}

/// A session that ended, and another that followed it.
#[derive(Clone, Debug, Deserialize)]
pub struct Interruption {
    /// The relay whose session ended.
    pub relay: String,
    /// From the first Welcome to that end.
    pub at_seconds: f64,
    /// Until the next Welcome.
    pub seconds: f64,
    /// Why that session ended.
    pub reason: String,
}

/// One talker as a client heard it. Counts are frames.
#[derive(Clone, Debug, Deserialize)]
pub struct Talker {
    /// The talker's number in the room.
    pub sender_id: u16,
    /// The talker's name.
    pub name: String,
    /// Those that came.
    pub received: u64,
    /// Those that should have come.
    pub expected: u64,
    /// Those that never came.
    pub lost: u64,
    /// Those that came too late to be played.
    pub late: u64,
    /// Those that were played out of the redundancy of the next.
    pub recovered: u64,
}

impl Client {
    /// Starts a client.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(launch: &Launch<'_>, arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        Self::from_command(&launch.name, launch.command(&arguments))
    }

    /// Starts a client with a command of [`Launch::command`] that has been
    /// changed since; `name` is how messages call it.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn from_command(name: &str, command: Command) -> Result<Self> {
        let name = format!("wzp-client {name}");
        let process = Process::start(&name, command)?;
        Ok(Self { name, process })
    }

    /// Waits for its good end and its summary.
    ///
    /// # Errors
    /// It does not end in time, ends badly, or prints no summary.
    pub fn finish(mut self, limit: Duration) -> Result<Summary> {
        let status = self.process.wait(limit)?;
        let log = self.process.stderr();
        ensure!(status.success(), "{} ended with {status}:\n{log}", self.name);
        self.summary()
    }

    /// Tells it to leave now, and waits for its good end and its summary.
    ///
    /// # Errors
    /// It is gone, does not end in time, ends badly, or prints no summary.
    pub fn leave(self, limit: Duration) -> Result<Summary> {
        self.process.terminate()?;
        self.finish(limit)
    }

    /// Waits for its bad end; gives what it wrote to standard error.
    ///
    /// # Errors
    /// It does not end in time, or ends well.
    pub fn fail(mut self, limit: Duration) -> Result<String> {
        let status = self.process.wait(limit)?;
        let log = self.process.stderr();
        ensure!(!status.success(), "{} did not fail:\n{log}", self.name);
        Ok(log)
    }

    fn summary(&self) -> Result<Summary> {
        let text = self.process.rest_of_stdout();
        serde_json::from_str(&text)
            .with_context(|| format!("{} printed no summary but {text:?}", self.name))
    }
}
