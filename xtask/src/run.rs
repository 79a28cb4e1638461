//! `cargo xtask run`: a relay, a client that speaks and one that listens, on
//! this machine.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use wzp_testbed::client::{Client, Launch as ClientLaunch, Summary};
use wzp_testbed::measure::Comparison;
use wzp_testbed::relay::{Launch, Relay, reachable};
use wzp_testbed::{binaries, speech};

use crate::project::cargo;
use crate::setup;
use crate::step::Steps;

/// What `cargo xtask run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Stop the relay after the demonstration.
    #[arg(long)]
    once: bool,
}

const ROOM: &str = "demo";

/// How long a tone takes the place of speech.
const TONE: Duration = Duration::from_secs(10);

/// What the clients may take beyond the length of the speech.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_building()?;
    let mut steps = Steps::default();
    let packages = ["--package", "wzp-relay", "--package", "wzp-client"];
    steps.run("build", cargo(&[&["build", "--release", "--locked"][..], &packages].concat()))?;

    let target = binaries::target_directory();
    let demo = Demo { client: target.join("release/wzp-client"), folder: target.join("demo") };
    std::fs::create_dir_all(&demo.folder)
        .with_context(|| format!("cannot make {}", demo.folder.display()))?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let launch = Launch {
        program: target.join("release/wzp-relay"),
        namespace: None,
        listen: (Ipv4Addr::UNSPECIFIED, 0).into(),
        state_dir: demo.folder.join("state"),
        arguments: ["--drain-timeout", "2s"].map(Into::into).into(),
    };
    // Ctrl-C goes to a whole group, and a relay told twice does not drain.
    let mut command = launch.command();
    command.process_group(0);
    let mut relay = Relay::from_command(command, None)?;
    println!("\nThe relay listens on UDP {}.", relay.listen());

    let outcome = demo.talk(&relay, &mut signals)?;
    outcome.print(&demo);
    print_forwarded(&relay)?;
    demo.print_commands(&relay);

    if !options.once {
        wait_for_signal(&mut relay, &mut signals)?;
    }
    relay.stop()?;
    println!("\nThe relay has stopped.");
    Ok(())
}

/// What is needed to let two clients talk.
#[derive(Debug)]
struct Demo {
    client: PathBuf,
    folder: PathBuf,
}

/// How it went.
#[derive(Debug)]
struct Outcome {
    sender: Summary,
    listener: Summary,
    /// Only for speech: a tone is the same wherever one aligns it.
    comparison: Option<Comparison>,
}

impl Demo {
    fn heard(&self) -> PathBuf {
        self.folder.join("heard.wav")
    }

    fn said(&self) -> PathBuf {
        self.folder.join("said.wav")
    }

    fn launch(&self, relay: &Relay<'_>, name: &str) -> ClientLaunch<'static> {
        ClientLaunch {
            program: self.client.clone(),
            namespace: None,
            relay: reachable(relay.listen()),
            pin: relay.fingerprint().to_owned(),
            room: ROOM.to_owned(),
            name: name.to_owned(),
        }
    }

    fn talk(&self, relay: &Relay<'_>, signals: &mut Signals) -> Result<Outcome> {
        let (said, length) = match speech::missing_recordings() {
            None => {
                let samples = speech::write_reference(&self.said())?;
                #[allow(clippy::cast_precision_loss)] // Seconds.
                let length = samples.len() as f64 / f64::from(speech::RATE);
                (Some(samples), Duration::from_secs_f64(length))
            }
            Some(missing) => {
                println!("A tone will do for speech: {missing} is missing.");
                (None, TONE)
            }
        };
        let heard = self.heard();
        let listener =
            Client::start(&self.launch(relay, "listener"), &["--record", text(&heard)?])?;
        let (said_path, seconds) = (self.said(), length.as_secs().to_string());
        let voice = match said {
            Some(_) => ["--send-file", text(&said_path)?],
            None => ["--send-tone", &seconds],
        };
        let arguments = [&voice[..], &["--wait-for", "1", "--linger", "1"]].concat();
        let sender = Client::start(&self.launch(relay, "speaker"), &arguments)?;
        println!("\nOne client speaks for {:.1} s, another listens:", length.as_secs_f64());
        show_progress(relay, length, signals)?;
        let sender = sender.finish(PATIENCE)?;
        let listener = listener.leave(PATIENCE)?;
        let comparison = match said {
            Some(said) => Some(Comparison::new(&said, &speech::read(&heard)?)),
            None => None,
        };
        let outcome = Outcome { sender, listener, comparison };
        ensure!(
            outcome.listener.frames_received > 0,
            "the listener heard nothing; the relay's log:\n{}",
            relay.log()
        );
        Ok(outcome)
    }

    fn print_commands(&self, relay: &Relay<'_>) {
        let joined = |role: &str| {
            format!(
                "{} --pin {} --room {ROOM} {role} {}",
                shown(&self.client),
                relay.fingerprint(),
                reachable(relay.listen())
            )
        };
        let voice = match self.said().exists() {
            true => format!("--send-file {}", shown(&self.said())),
            false => format!("--send-tone {}", TONE.as_secs()),
        };
        let record = format!("--record {}", shown(&self.heard()));
        println!(
            "\nThe same by hand, each in a terminal of its own; the first ends with Ctrl-C:\n"
        );
        println!("  {}", joined(&record));
        println!("  {}", joined(&format!("{voice} --wait-for 1")));
        println!(
            "\nA relay of your own, on the standard ports, with the command for its clients:\n"
        );
        println!(
            "  {} --listen 0.0.0.0:4433 --metrics-port 9090 --state-dir {}",
            shown(&self.client.with_file_name("wzp-relay")),
            shown(&self.folder.join("state"))
        );
    }
}

impl Outcome {
    fn print(&self, demo: &Demo) {
        let (sent, received) = (self.sender.frames_sent, self.listener.frames_received);
        println!("\n  frames sent      {sent}");
        println!("  frames received  {received}");
        for talker in &self.listener.talkers {
            #[allow(clippy::cast_precision_loss)] // Far fewer than 2^52.
            let percent = talker.lost as f64 * 100.0 / talker.expected.max(1) as f64;
            println!("  lost             {} ({percent:.2} %)", talker.lost);
        }
        println!("  round trip       {:.2} ms", self.listener.rtt_ms);
        if let Some(comparison) = &self.comparison {
            println!(
                "  heard against said: loudness correlates to {:.3}, {} gaps, length off by {} ms",
                comparison.envelope_correlation,
                comparison.gaps.len(),
                comparison.length_error().as_millis()
            );
        }
        println!("\nListen to it:\n\n  aplay {}", shown(&demo.heard()));
    }
}

/// The path as one would type it here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// One line a second with what the relay has forwarded by then.
fn show_progress(relay: &Relay<'_>, length: Duration, signals: &mut Signals) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < length {
        std::thread::sleep(Duration::from_secs(1).min(length.saturating_sub(start.elapsed())));
        let forwarded = relay.scrape()?.sum(FORWARDED, &[("room", ROOM)]).unwrap_or(0.0);
        println!("  {:>4.1} s  {forwarded:.0} packets forwarded", start.elapsed().as_secs_f64());
        ensure!(signals.pending().next().is_none(), "interrupted");
    }
    Ok(())
}

const FORWARDED: &str = "wzp_relay_packets_forwarded_total";

fn print_forwarded(relay: &Relay<'_>) -> Result<()> {
    let text = relay.get("/metrics")?.body;
    let address = relay.metrics_address();
    println!("\nWhat the relay tells (curl -s http://{address}/metrics | grep {FORWARDED}):\n");
    for line in text.lines().filter(|line| line.starts_with(FORWARDED)) {
        println!("  {line}");
    }
    Ok(())
}

fn wait_for_signal(relay: &mut Relay<'_>, signals: &mut Signals) -> Result<()> {
    println!("\nThe relay runs on until Ctrl-C.");
    loop {
        if signals.pending().next().is_some() {
            return Ok(());
        }
        if !relay.is_running()? {
            bail!("the relay has ended by itself; its log:\n{}", relay.log());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
