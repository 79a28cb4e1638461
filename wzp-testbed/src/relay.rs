//! A relay process.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::binaries;
use crate::http::{self, Response};
use crate::metrics::Scrape;
use crate::netns::Namespace;
use crate::process::{self, Process};

/// How long a relay may take to be ready, and to stop.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How to start a relay.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The relay's program.
    pub program: PathBuf,
    /// Where it runs; the machine itself if `None`.
    pub namespace: Option<&'a Namespace>,
    /// What it listens on; port 0 for a free one.
    pub listen: SocketAddr,
    /// Where it keeps its identity.
    pub state_dir: PathBuf,
    /// Further arguments.
    pub arguments: Vec<OsString>,
}

impl<'a> Launch<'a> {
    /// The relay under test in a namespace, with its state in `folder`.
    pub fn on(namespace: &'a Namespace, listen: SocketAddr, folder: &Path) -> Self {
        Self {
            program: binaries::relay(),
            namespace: Some(namespace),
            listen,
            state_dir: folder.join("state"),
            arguments: Vec::new(),
        }
    }

    /// The command line, with a free port for metrics.
    pub fn command(&self) -> Command {
        let mut command = match self.namespace {
            Some(namespace) => namespace.command(&self.program),
            None => Command::new(&self.program),
        };
        command
            .args(["--listen", &self.listen.to_string(), "--metrics-port", "0", "--state-dir"])
            .arg(&self.state_dir)
            .args(&self.arguments);
        command
    }
}

/// A relay that is ready. Killed when dropped.
#[derive(Debug)]
pub struct Relay<'a> {
    process: Process,
    namespace: Option<&'a Namespace>,
    ready: Ready,
}

/// What a relay prints when it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ready {
    listen: SocketAddr,
    fingerprint: String,
    metrics: SocketAddr,
    client_command: String,
}

impl<'a> Relay<'a> {
    /// Starts a relay and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or did not print all its facts in time.
    pub fn start(launch: &Launch<'a>) -> Result<Self> {
        Self::from_command(launch.command(), launch.namespace)
    }

    /// Starts a relay with a command of [`Launch::command`] that has been
    /// changed since, in the same place.
    ///
    /// # Errors
    /// It ended, or did not print all its facts in time.
    pub fn from_command(command: Command, namespace: Option<&'a Namespace>) -> Result<Self> {
        let mut process = Process::start("wzp-relay", command)?;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match process.next_line(deadline)? {
                Some(line) => lines.push(line),
                None => {
                    let status = process.wait(PATIENCE)?;
                    bail!("the relay ended ({status}) before it was ready:\n{}", process.stderr());
                }
            }
            if let Some(ready) = Ready::parse(&lines) {
                return Ok(Self { process, namespace, ready });
            }
        }
    }

    /// Where it listens for clients. The address may be the unspecified one.
    pub fn listen(&self) -> SocketAddr {
        self.ready.listen
    }

    /// Its certificate's fingerprint.
    pub fn fingerprint(&self) -> &str {
        &self.ready.fingerprint
    }

    /// The client command that it recommends.
    pub fn client_command(&self) -> &str {
        &self.ready.client_command
    }

    /// Where it serves metrics.
    pub fn metrics_address(&self) -> SocketAddr {
        self.ready.metrics
    }

    /// GET `path` from its metrics port, from where it runs.
    ///
    /// # Errors
    /// No HTTP answer came.
    pub fn get(&self, path: &str) -> Result<Response> {
        let address = self.ready.metrics;
        match self.namespace {
            Some(namespace) => namespace.run(|| http::get(address, path)),
            None => http::get(address, path),
        }
    }

    /// Its metrics.
    ///
    /// # Errors
    /// No answer came, or not in the text format.
    pub fn scrape(&self) -> Result<Scrape> {
        let response = self.get("/metrics")?;
        ensure!(response.status == 200, "/metrics answered {}", response.status);
        Scrape::parse(&response.body)
    }

    /// Asks it to drain and end.
    ///
    /// # Errors
    /// It is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.process.terminate()
    }

    /// Has it reload its configuration: SIGHUP.
    ///
    /// # Errors
    /// It is gone already.
    pub fn hang_up(&self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Waits for its end after [`Self::terminate`].
    ///
    /// # Errors
    /// It does not end, or not with status 0.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "the relay ended with {status}:\n{}", self.process.stderr());
        Ok(())
    }

    /// [`Self::terminate`] and [`Self::wait`].
    ///
    /// # Errors
    /// Those of both.
    pub fn stop(mut self) -> Result<()> {
        self.terminate()?;
        self.wait()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Memory it holds, in bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.process.id())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The first line of its log that has this text, once it is written.
    ///
    /// # Errors
    /// None is in time.
    pub fn logged(&self, text: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            // A line may be there in part.
            let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = lines.find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            ensure!(Instant::now() < deadline, "no {text:?} in the relay's log:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Ready {
    /// All facts, once they are there.
    fn parse(lines: &[String]) -> Option<Self> {
        let fact = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let (_, metrics) = fact("metrics on ")?.split_once("://")?;
        let metrics: SocketAddr = metrics.split('/').next()?.parse().ok()?;
        Some(Self {
            listen: fact("listening on ")?.parse().ok()?,
            fingerprint: fact("fingerprint ")?.to_owned(),
            metrics: reachable(metrics),
            client_command: format!("wzp-client{}", fact("wzp-client")?),
        })
    }
}

/// What to connect to on the same host when a program listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            address.set_ip(Ipv4Addr::LOCALHOST.into())
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            address.set_ip(Ipv6Addr::LOCALHOST.into())
        }
        _ => {}
    }
    address
}

/// A new state directory, removed when dropped.
///
/// # Errors
/// The temporary directory is not writable.
pub fn temporary_state() -> Result<tempfile::TempDir> {
    tempfile::tempdir().context("no temporary directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_needs_every_fact() {
        let lines: Vec<String> = [
            "listening on [::]:4433",
            "fingerprint ab12",
            "metrics on http://0.0.0.0:9090/metrics",
            "wzp-client --pin ab12 --room lobby localhost:4433",
        ]
        .map(String::from)
        .into();
        for missing in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(missing);
            assert_eq!(Ready::parse(&fewer), None, "{fewer:?}");
        }
        let ready = Ready::parse(&lines).unwrap();
        assert_eq!(ready.listen.to_string(), "[::]:4433");
        assert_eq!(ready.fingerprint, "ab12");
        assert_eq!(ready.metrics.to_string(), "127.0.0.1:9090");
        assert_eq!(ready.client_command, lines[3]);
    }
}
