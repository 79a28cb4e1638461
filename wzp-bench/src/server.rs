//! A contestant at work.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use wzp_testbed::http;
use wzp_testbed::metrics::Scrape;
use wzp_testbed::netns::Namespace;
use wzp_testbed::process::Process;
use wzp_testbed::relay::PATIENCE;

use super::contestant::{Contestant, Program};
use super::cpus::{Split, start};
use super::generator::{Generator, Load, Target, Trust};
use super::place::Place;
use super::programs::{Programs, inside};

/// No limit of the relay's may be what is measured.
const CONFIG: &str = "[limits]
sessions = 1000000
sessions_per_address = 1000000
handshakes = 1000000
handshake_timeout = '60s'
hello_timeout = '60s'
packets_per_second = 100000
bytes_per_second = 100000000
";

/// How long a server may take to end once it is told.
const STOP: Duration = Duration::from_secs(10);

/// A server that is ready. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    process: Process,
    namespace: Option<&'a Namespace>,
    listen: SocketAddr,
    trust: Trust,
    metrics: Option<SocketAddr>,
    /// Its state and its configuration.
    _folder: TempDir,
}

impl<'a> Server<'a> {
    /// Starts it on its CPUs and waits until it takes participants in.
    ///
    /// # Errors
    /// It ends, or does not become ready in time.
    pub(crate) fn start(
        contestant: &Contestant,
        programs: &Programs,
        place: &'a Place,
        cpus: &Split,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary directory")?;
        let namespace = place.server();
        let listen = match contestant.program {
            Program::Peer(_) => place.listen_on_a_port()?,
            Program::Relay | Program::Naive => place.listen(),
        };
        let command = command(contestant, programs, namespace, listen, folder.path())?;
        let process = start(&contestant.name, &command, &cpus.server)?;
        let trust = Trust::Anyone;
        let mut server = Self { process, namespace, listen, trust, metrics: None, _folder: folder };
        match contestant.program {
            Program::Relay => server.read_facts(true)?,
            Program::Naive => server.read_facts(false)?,
            Program::Peer(_) => server.join_until_it_works(programs, place, cpus)?,
        }
        Ok(server)
    }

    /// Waits for the lines that say where it listens and who it is.
    fn read_facts(&mut self, serves_metrics: bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut listen, mut trust) = (None, None);
        while listen.is_none() || trust.is_none() || serves_metrics && self.metrics.is_none() {
            let Some(line) = self.process.next_line(deadline)? else {
                let status = self.process.wait(PATIENCE)?;
                bail!("it ended ({status}) before it was ready:\n{}", self.process.stderr());
            };
            if let Some(address) = line.strip_prefix("listening on ") {
                listen = Some(address.parse()?);
            } else if let Some(fingerprint) = line.strip_prefix("fingerprint ") {
                trust = Some(Trust::Pinned(fingerprint.to_owned()));
            } else if let Some(url) = line.strip_prefix("metrics on http://") {
                self.metrics = url.strip_suffix("/metrics").map(str::parse).transpose()?;
            }
        }
        if let (Some(listen), Some(trust)) = (listen, trust) {
            (self.listen, self.trust) = (listen, trust);
        }
        Ok(())
    }

    /// A program that tells nothing is ready when a participant is taken in.
    fn join_until_it_works(
        &mut self,
        programs: &Programs,
        place: &Place,
        cpus: &Split,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let attempt = Generator::start(&Load::PROBE, self.target(), programs, place, cpus)
                .and_then(Generator::joined_and_left);
            let Err(error) = attempt else { return Ok(()) };
            if let Some(status) = self.process.ended()? {
                self.process.wait(PATIENCE)?;
                bail!("it ended ({status}) before it was ready:\n{}", self.process.stderr());
            }
            ensure!(
                Instant::now() < deadline,
                "nobody could join it on {} within {PATIENCE:?}: {error:#}; its log:\n{}",
                self.listen,
                self.process.stderr()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The id of the server's process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it takes participants in.
    pub(crate) const fn target(&self) -> Target<'_> {
        Target { listen: self.listen, trust: &self.trust }
    }

    /// Where its metrics are, if it serves any.
    pub(crate) fn metrics(&self) -> Option<MetricsPage<'a>> {
        Some(MetricsPage { namespace: self.namespace, address: self.metrics? })
    }

    /// Tells it to end, and kills it if it does not.
    ///
    /// # Errors
    /// It is gone already.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.process.ended()? {
            self.process.wait(STOP)?;
            bail!("it ended by itself ({status}):\n{}", self.process.stderr());
        }
        self.process.terminate()?;
        // What it does on its way out is not what is measured.
        let _ = self.process.wait(STOP);
        Ok(())
    }
}

/// A server's metrics, read from where it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsPage<'a> {
    namespace: Option<&'a Namespace>,
    address: SocketAddr,
}

impl MetricsPage<'_> {
    /// Reads it.
    ///
    /// # Errors
    /// No answer came, or not in the text format.
    pub(crate) fn scrape(self) -> Result<Scrape> {
        let get = || http::get(self.address, "/metrics");
        let response = match self.namespace {
            Some(namespace) => namespace.run(get),
            None => get(),
        }?;
        ensure!(response.status == 200, "/metrics answered {}", response.status);
        Scrape::parse(&response.body)
    }
}

fn command(
    contestant: &Contestant,
    programs: &Programs,
    namespace: Option<&Namespace>,
    listen: SocketAddr,
    folder: &Path,
) -> Result<Command> {
    let listen = listen.to_string();
    let command = match &contestant.program {
        Program::Naive => {
            let mut command = inside(namespace, &programs.naive);
            command.args(["--listen", &listen]);
            command
        }
        Program::Peer(text) => {
            // In the place of the shell: the process that is measured is the
            // program itself.
            let text = format!("exec {}", text.replace("{listen}", &listen));
            let mut command = inside(namespace, "sh");
            command.args(["-c", &text]);
            command
        }
        Program::Relay => {
            let config = folder.join("relay.toml");
            std::fs::write(&config, CONFIG)
                .with_context(|| format!("cannot write {}", config.display()))?;
            let mut command = inside(namespace, &programs.relay);
            command.args(["--listen", &listen, "--metrics-port", "0", "--drain-timeout", "1s"]);
            command.arg("--config").arg(config).arg("--state-dir").arg(folder.join("state"));
            if !contestant.arguments.iter().any(|argument| argument == "--shards") {
                command.args(["--shards", "1"]);
            }
            if contestant.kernel_counts {
                command.args(["--ebpf", "require", "--interface", "eth0"]);
            }
            command.args(&contestant.arguments);
            command
        }
    };
    Ok(command)
}
