//! `cargo xtask run`: a relay, a client that speaks and one that listens, on
//! this machine.

mod by_hand;
mod counts;
mod place;
mod verdict;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use wzp_testbed::bound::bound;
use wzp_testbed::client::{Client, Launch as ClientLaunch, Summary};
use wzp_testbed::measure::Comparison;
use wzp_testbed::relay::{Launch, Relay};
use wzp_testbed::{binaries, realtime, speech};

use crate::project::cargo;
use crate::setup;
use crate::step::{RELEASE, Steps};
use counts::Counter;
use counts::shown;
use place::Place;
use verdict::Facts;

/// What `cargo xtask run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Stop the relay after the demonstration.
    #[arg(long)]
    once: bool,
}

const ROOM: &str = "demo";

const FORWARDED: &str = "wzp_relay_packets_forwarded_total";

/// How long a tone takes the place of speech.
const TONE: Duration = Duration::from_secs(10);

/// What the clients may take beyond the length of the speech.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long before the end of the speech the flows are shown: they are looked
/// at for a second, in which the talk must go on.
const LAST_LOOK: Duration = Duration::from_secs(3);

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_building()?;
    let mut steps = Steps::default();
    let packages = ["--package", "wzp-relay", "--package", "wzp-client"];
    steps.run_long(
        "build",
        RELEASE,
        cargo(&[&["build", "--release", "--locked"][..], &packages].concat()),
    )?;

    // Before there is anything that a signal would leave behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let target = binaries::target_directory();
    let place = Place::choose();
    let demo = Demo {
        client: target.join("release/wzp-client"),
        relay: target.join("release/wzp-relay"),
        folder: target.join("demo"),
        place: &place,
    };
    std::fs::create_dir_all(&demo.folder)
        .with_context(|| format!("cannot make {}", demo.folder.display()))?;
    // As sound has it on real systems, where it may: other work of this machine must
    // not make the voices stumble.
    let steady = realtime::set(true);
    let mut relay = demo.start_relay()?;
    println!("The relay listens on UDP {}.", relay.listen());
    let counter = Counter::of(&relay)?;
    counts::print_counter(&relay, counter, place.relay().is_some())?;

    let outcome = demo.talk(&relay, counter, &mut signals)?;
    if steady {
        realtime::set(false);
        realtime::set_for(relay.id(), false);
    }
    outcome.print(&demo);
    counts::print_forwarded(&relay, counter)?;
    if !options.once {
        by_hand::print_for_this_relay(&demo, &relay, counter);
    }
    by_hand::print_for_another_relay(&demo);

    if !options.once {
        wait_for_signal(&mut relay, &mut signals)?;
    }
    relay.stop()?;
    println!("\nThe relay has stopped.");
    Ok(())
}

/// What is needed to let two clients talk.
#[derive(Debug)]
struct Demo<'a> {
    client: PathBuf,
    relay: PathBuf,
    folder: PathBuf,
    place: &'a Place,
}

/// How it went.
#[derive(Debug)]
struct Outcome {
    sender: Summary,
    listener: Summary,
    /// Only for speech: a tone is the same wherever one aligns it.
    comparison: Option<Comparison>,
    /// Packets that the relay says it dropped.
    dropped: f64,
}

impl<'a> Demo<'a> {
    fn heard(&self) -> PathBuf {
        self.folder.join("heard.wav")
    }

    fn said(&self) -> PathBuf {
        self.folder.join("said.wav")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn launch(&self) -> Launch<'a> {
        let drain = ["--drain-timeout", "2s"].map(Into::into);
        Launch {
            program: self.relay.clone(),
            namespace: self.place.relay(),
            listen: self.place.listen(),
            state_dir: self.state(),
            arguments: self.place.counting().into_iter().chain(drain).collect(),
        }
    }

    fn start_relay(&self) -> Result<Relay<'a>> {
        let launch = self.launch();
        // Ctrl-C goes to a whole group, and a relay told twice does not drain.
        let mut command = bound(&launch.command())?;
        command.process_group(0);
        Relay::from_command(command, launch.namespace)
    }

    fn start_client(&self, relay: &Relay<'_>, name: &str, arguments: &[&str]) -> Result<Client> {
        let launch = ClientLaunch {
            program: self.client.clone(),
            namespace: self.place.clients(),
            relay: relay.listen(),
            pin: relay.fingerprint().to_owned(),
            room: ROOM.to_owned(),
            name: name.to_owned(),
        };
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        Client::from_command(name, bound(&launch.command(&arguments))?)
    }

    fn talk(&self, relay: &Relay<'_>, counter: Counter, signals: &mut Signals) -> Result<Outcome> {
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
        let listener = self.start_client(relay, "listener", &["--record", text(&heard)?])?;
        let (said_path, seconds) = (self.said(), length.as_secs().to_string());
        let voice = match said {
            Some(_) => ["--send-file", text(&said_path)?],
            None => ["--send-tone", &seconds],
        };
        let arguments = [&voice[..], &["--wait-for", "1", "--linger", "1"]].concat();
        let sender = self.start_client(relay, "speaker", &arguments)?;
        println!("\nOne client speaks for {:.1} s, another listens:", length.as_secs_f64());
        self.show_progress(relay, counter, length, signals)?;
        let sender = sender.finish(PATIENCE)?;
        let listener = listener.leave(PATIENCE)?;
        let comparison = match said {
            Some(said) => Some(Comparison::new(&said, &speech::read(&heard)?)),
            None => None,
        };
        let dropped = counts::dropped(relay)?;
        let outcome = Outcome { sender, listener, comparison, dropped };
        ensure!(
            outcome.listener.frames_received > 0,
            "the listener heard nothing; the relay's log:\n{}",
            relay.log()
        );
        Ok(outcome)
    }

    /// One line a second with what has been forwarded by then, and towards the
    /// end the flows if the kernel counts them.
    fn show_progress(
        &self,
        relay: &Relay<'_>,
        counter: Counter,
        length: Duration,
        signals: &mut Signals,
    ) -> Result<()> {
        let start = Instant::now();
        let last_look = length.saturating_sub(LAST_LOOK);
        let mut flows = (counter == Counter::Kernel).then_some(last_look);
        while start.elapsed() < length {
            if flows.take_if(|at| start.elapsed() >= *at).is_some() {
                counts::print_flows(self)?;
            } else {
                let left = length.saturating_sub(start.elapsed());
                std::thread::sleep(Duration::from_secs(1).min(left));
            }
            println!(
                "  {:>4.1} s  {:.0} packets forwarded, counted by {}",
                start.elapsed().as_secs_f64(),
                counts::forwarded(relay)?,
                counter.name()
            );
            ensure!(signals.pending().next().is_none(), "interrupted");
        }
        Ok(())
    }
}

impl Outcome {
    fn facts(&self) -> Facts {
        let talkers = &self.listener.talkers;
        Facts {
            sent: self.sender.frames_sent,
            received: self.listener.frames_received,
            late: talkers.iter().map(|talker| talker.late).sum(),
            gaps: self.comparison.as_ref().map_or(0, |comparison| comparison.gaps.len()),
            dropped: self.dropped,
            speaker_held_up_ms: self.sender.held_up_ms,
            listener_held_up_ms: self.listener.held_up_ms,
        }
    }

    fn print(&self, demo: &Demo<'_>) {
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
        println!("\n  {}", self.facts().verdict());
        println!("\nListen to it:\n\n  aplay {}", shown(&demo.heard()));
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
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
