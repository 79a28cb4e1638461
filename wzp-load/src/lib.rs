//! `wzp-client load`: many clients in one process, to find out what a relay
//! can carry.
//!
//! * `options`, `plan`: what is asked for, and who does which part of it
//! * `worker`: one thread with its share of the sessions (`session`)
//! * `talking`, `rota`: the clock that sends for all talkers of a thread
//! * `ear`: what a session hears
//! * `window`: the time that is measured
//! * `tally`, `report`: what was counted, and how it is told
//!
//! It costs as little per frame as async quinn allows, so that the relay is
//! what is measured: threads share nothing while media flows, no frame has a
//! timer or an allocation of its own.

mod descriptors;
mod ear;
mod failure;
mod frame;
mod options;
mod plan;
mod report;
mod rota;
mod session;
mod talking;
mod tally;
mod window;
mod worker;

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::ClockId;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep_until;
use wzp_command::signals::Signals;
use wzp_command::terminal::Terminal;
use wzp_proto::control::Limits;
use wzp_proto::media::HEADER_LEN;
use wzp_transport::join::{JoinError, client_config};

pub use self::failure::LoadFailure;
pub use self::options::LoadOptions;

use self::failure::system;
use self::report::Printer;
use self::tally::Tally;
use self::window::{Clock, NOTICE, Window};
use self::worker::{Report, Stage, Worker, cpu_time};

/// Loads a relay and tells how it went.
///
/// # Errors
/// It was not loaded as it should have been.
pub fn run(options: LoadOptions, terminal: Terminal) -> Result<(), LoadFailure> {
    options.check()?;
    descriptors::provide(options.sessions(), options.threads)?;
    let printer = Printer::new(&options, terminal);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the event loop"))?;
    let crew = runtime.block_on(direct(&Arc::new(options), &printer))?;
    let progress = crew.progress;
    let tally = gather(crew.threads)?;
    printer.result(&progress, &tally);
    report::verdict(&tally)
}

/// Leads the threads to the end of the measured time, or to where a signal
/// ended it.
async fn direct(options: &Arc<LoadOptions>, printer: &Printer) -> Result<Crew, LoadFailure> {
    let mut signals = Signals::new().map_err(system("catch signals"))?;
    let addresses = addresses(options).await?;
    let mut crew = Crew::start(options, addresses)?;
    tokio::select! {
        led = crew.lead(options, printer) => {
            if let Err(failure) = led {
                let _ = crew.stage.send(Stage::Leave);
                // Why a thread ended comes before that it did.
                gather(crew.threads)?;
                return Err(failure);
            }
        }
        () = signals.next() => crew.cut_short().await,
    }
    if crew.progress.measured.is_some() {
        printer.measured();
    }
    Ok(crew)
}

/// Where the relay may be, as seen from the addresses to be used here.
async fn addresses(options: &LoadOptions) -> Result<Vec<SocketAddr>, LoadFailure> {
    let mut found =
        options.relay.resolve().await.map_err(|error| cannot_join(options, error.into()))?;
    if let Some(source) = options.sources.first() {
        found.retain(|address| address.is_ipv4() == source.is_ipv4());
        if found.is_empty() {
            let kind = if source.is_ipv4() { "IPv4" } else { "IPv6" };
            let text = format!("--sources has {kind} addresses, and {} has none", options.relay);
            return Err(LoadFailure::Usage(text));
        }
    }
    Ok(found)
}

fn cannot_join(options: &LoadOptions, error: JoinError) -> LoadFailure {
    LoadFailure::Join {
        room: options.room(options.seat(0)),
        relay: options.relay.to_string(),
        source: Box::new(error),
    }
}

/// Waits for the threads' ends and adds up what they counted.
fn gather(threads: Vec<Thread>) -> Result<Tally, LoadFailure> {
    let mut all = Tally::default();
    for thread in threads {
        match thread.join() {
            Ok(tally) => all.merge(tally?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(all)
}

type Thread = JoinHandle<Result<Tally, LoadFailure>>;

/// The threads, and how far they are.
struct Crew {
    clock: Clock,
    window: Window,
    stage: watch::Sender<Stage>,
    reports: mpsc::UnboundedReceiver<Report>,
    threads: Vec<Thread>,
    begun: Instant,
    progress: Progress,
}

impl Crew {
    fn start(options: &Arc<LoadOptions>, addresses: Vec<SocketAddr>) -> Result<Self, LoadFailure> {
        let (stage, _) = watch::channel(Stage::Probe(addresses.into()));
        let (reporter, reports) = mpsc::unbounded_channel();
        let (clock, window) = (Clock::start(), Window::default());
        let joins = Arc::new(Semaphore::new(options.concurrent_joins as usize));
        let client = client_config(options.trust.trust())
            .map_err(|error| cannot_join(options, error.into()))?;
        let token = options.token.read()?;
        let run = RandomState::new().hash_one(std::process::id()) as u32;
        let mut threads = Vec::new();
        for thread in 0..options.threads {
            let worker = Worker {
                options: Arc::clone(options),
                thread,
                clock,
                window: window.clone(),
                run,
                client: client.clone(),
                token: token.clone(),
                joins: Arc::clone(&joins),
                stage: stage.subscribe(),
                reports: reporter.clone(),
            };
            let named = std::thread::Builder::new().name(format!("load {thread}"));
            let started = named.spawn(move || worker.run());
            threads.push(started.map_err(system("start a thread"))?);
        }
        let begun = Instant::now();
        Ok(Self { clock, window, stage, reports, threads, begun, progress: Progress::default() })
    }

    /// Everything in its order.
    async fn lead(&mut self, options: &LoadOptions, printer: &Printer) -> Result<(), LoadFailure> {
        let (address, limits) = match self.reports.recv().await {
            Some(Report::First(first)) => first.map_err(|error| cannot_join(options, error))?,
            _ => return Err(LoadFailure::ThreadEnded),
        };
        fits(options, &limits)?;
        self.stage.send_replace(Stage::Join(address, self.begun));
        for _ in 0..options.threads {
            let Some(Report::Joined { sessions, failed }) = self.reports.recv().await else {
                return Err(LoadFailure::ThreadEnded);
            };
            self.progress.joined += sessions;
            self.progress.failed += failed;
        }
        self.progress.joining = Some(self.begun.elapsed());
        printer.joined(&self.progress);

        let talk = self.clock.now() + nanos(NOTICE);
        let from = talk + nanos(options.warm_up);
        let until = from + nanos(options.duration);
        self.window.set(from, until);
        self.stage.send_replace(Stage::Measure { talk, from, until });
        sleep_until(self.clock.at(from).into()).await;
        self.progress.measuring =
            Some(Measuring { talk, from, cpu: cpu_time(ClockId::ProcessCPUTime) });
        printer.measuring();
        sleep_until(self.clock.at(until).into()).await;
        self.measured(until);
        Ok(())
    }

    /// Ends the measured time now, or everything if it has not begun.
    async fn cut_short(&mut self) {
        let Some(Measuring { talk, from, .. }) = self.progress.measuring else {
            self.stage.send_replace(Stage::Leave);
            return;
        };
        let until = self.clock.now() + nanos(NOTICE);
        self.window.end(until);
        self.stage.send_replace(Stage::Measure { talk, from, until });
        sleep_until(self.clock.at(until).into()).await;
        self.measured(until);
    }

    fn measured(&mut self, until: u64) {
        self.progress.measured =
            self.progress.measuring.map(|Measuring { from, cpu, .. }| Measured {
                duration: Duration::from_nanos(until - from),
                cpu: cpu_time(ClockId::ProcessCPUTime).saturating_sub(cpu),
            });
    }
}

/// How far a load has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Sessions in their rooms.
    joined: u64,
    /// Sessions that are not.
    failed: u64,
    /// How long joining took.
    joining: Option<Duration>,
    measuring: Option<Measuring>,
    measured: Option<Measured>,
}

/// The start of the measured time.
#[derive(Clone, Copy, Debug)]
struct Measuring {
    talk: u64,
    from: u64,
    /// CPU time of this process by then.
    cpu: Duration,
}

/// The measured time.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    duration: Duration,
    /// CPU time that this process used in it.
    cpu: Duration,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether the relay would drop frames for being too long or too many. That is
/// nobody's capacity.
fn fits(options: &LoadOptions, limits: &Limits) -> Result<(), LoadFailure> {
    if options.talkers() == 0 {
        return Ok(());
    }
    let bytes = (HEADER_LEN + options.frame_bytes) as f64;
    let asked = [
        (
            bytes,
            limits.frame_bytes,
            "bytes long with their header (lower --frame-bytes)",
            "limits.frame_bytes",
        ),
        (
            options.rate,
            limits.packets_per_second,
            "a second and talker (lower --rate)",
            "limits.packets_per_second",
        ),
        (
            bytes * options.rate,
            limits.bytes_per_second,
            "bytes a second and talker (lower --rate or --frame-bytes)",
            "limits.bytes_per_second",
        ),
    ];
    for (wanted, limit, what, key) in asked {
        // Relays that are not this project's need not tell limits.
        if limit != 0 && wanted > f64::from(limit) {
            return Err(LoadFailure::Usage(format!(
                "the relay would drop these frames: {wanted} {what}, \
                 and it takes {limit}; or raise {key} at the relay"
            )));
        }
    }
    Ok(())
}
