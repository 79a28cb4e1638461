//! How the relay is: what `/health` and `/ready` say.

mod network;

use std::collections::VecDeque;
use std::ops::Sub;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wzp_telemetry::audit::Audit;
use wzp_telemetry::health::{Check, Consequence, Health, Phase, Report, Storage, memory};
use wzp_telemetry::lock::Mutex;
use wzp_telemetry::panics::Panic;

use crate::metrics::Sources;
use network::Traffic;
use wzp_kernel::{Mode, Statistics};
use wzp_sfu::count::reason::DropReason;

/// Rates are told over so long.
const WINDOW: Duration = Duration::from_secs(60);

/// Samples in the window are at least so far apart.
const STEP: Duration = Duration::from_secs(1);

/// From this share of a limit on, an operator should know.
const NEARLY: f64 = 0.9;

/// A panic is told of for so long.
const TOLD_OF_PANIC: Duration = Duration::from_secs(300);

/// More loss than this is heard.
const LOSS: f64 = 0.01;

/// Looks at a relay.
pub struct RelayHealth {
    sources: Sources,
    /// Of the folders that the relay writes to.
    storage: Storage,
    recent: Mutex<Recent>,
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    /// Media handed to receivers' connections.
    forwarded: u64,
    /// Media that was lost in the relay on its way there.
    lost: u64,
    log_lines_dropped: u64,
    network: Traffic,
}

/// Totals of the last minute, at times when somebody looked.
struct Recent(VecDeque<(Instant, Totals)>);

impl RelayHealth {
    /// Of the relay behind `sources`, which writes to these folders.
    pub fn new(sources: Sources, folders: Vec<PathBuf>) -> Self {
        let first = (Instant::now(), totals(&sources));
        let storage = Storage::of(folders);
        Self { sources, storage, recent: Mutex::new(Recent([first].into())) }
    }

    fn last_minute(&self) -> Totals {
        // Samples are whole, so a panic elsewhere is no harm.
        let mut recent = self.recent.lock();
        recent.since(Instant::now(), totals(&self.sources))
    }

    fn phase(&self) -> Phase {
        match (self.sources.is_ready(), self.sources.is_starting()) {
            (false, _) => Phase::Draining,
            (true, true) => Phase::Starting,
            (true, false) => Phase::Serving,
        }
    }
}

impl Health for RelayHealth {
    fn report(&self) -> Report {
        let sources = &self.sources;
        let sessions = sources.admission.population().sessions;
        let uptime = sources.started.elapsed();
        let recent = self.last_minute();
        Report {
            phase: self.phase(),
            uptime_seconds: uptime.as_secs(),
            connections: sessions.into(),
            transfers_active: 0,
            peers: 0,
            checks: vec![
                shards(sources.stuck_shard(), sources.all_shards_fail()),
                panics(sources.panics.last(), Instant::now()),
                recent.network.check(sources.buffers),
                drops(&recent),
                self::sessions(
                    sessions,
                    sources.admission.most_sessions(),
                    sources.admission.takes_newcomers(Instant::now()),
                ),
                ebpf(&sources.accounts.reader().statistics()),
                self.storage.check(),
                memory(),
                log(&recent),
                audit(&sources.audit),
            ],
        }
    }
}

fn totals(sources: &Sources) -> Totals {
    // What a sender does wrong or a receiver's path does not take is theirs: any one of
    // them could otherwise page the operator. What is lost between shards is the relay's.
    let log = (sources.log)();
    let mut totals = Totals {
        log_lines_dropped: log.dropped_queue + log.dropped_output,
        network: Traffic::of(sources),
        ..Totals::default()
    };
    for shard in &sources.shards {
        totals.forwarded += shard.media_packets_forwarded.get();
        totals.lost += shard.packets_dropped[DropReason::ShardQueue].get();
    }
    totals
}

/// What was added since an earlier look.
impl Sub<&Self> for Totals {
    type Output = Self;

    fn sub(self, before: &Self) -> Self {
        Self {
            forwarded: self.forwarded.saturating_sub(before.forwarded),
            lost: self.lost.saturating_sub(before.lost),
            log_lines_dropped: self.log_lines_dropped.saturating_sub(before.log_lines_dropped),
            network: self.network - &before.network,
        }
    }
}

impl Recent {
    /// What has been added in the last minute, or since somebody looked if that
    /// is longer ago.
    fn since(&mut self, now: Instant, totals: Totals) -> Totals {
        let is_old = |(at, _): &(Instant, Totals)| now.saturating_duration_since(*at) >= WINDOW;
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.iter_mut().for_each(|(_, before)| before.network.learn(&totals.network));
        let before = self.0.front().map(|(_, totals)| totals.clone()).unwrap_or_default();
        let is_due = |(at, _): &(Instant, Totals)| now.saturating_duration_since(*at) >= STEP;
        if self.0.back().is_none_or(is_due) {
            self.0.push_back((now, totals.clone()));
        }
        totals - &before
    }
}

/// The one thing that a restart helps against. A shard that fails again and again has
/// begun again each time, which is what a restart of the relay would do, too; but for
/// the others' calls, which it would end. Where all fail, it is worth a try.
fn shards(stuck: Option<(usize, Duration)>, all_fail: bool) -> Check {
    let problem = match stuck {
        Some((index, since)) => format!("shard {index} has hung for {} seconds", since.as_secs()),
        None if all_fail => "all shards fail again and again; the log says why".to_owned(),
        None => return Check::ok("shards"),
    };
    Check::failed("shards", Consequence::Unhealthy, problem)
}

fn panics(last: Option<Panic>, now: Instant) -> Check {
    let ago = |panic: &Panic| now.saturating_duration_since(panic.at);
    match last.filter(|panic| ago(panic) < TOLD_OF_PANIC) {
        None => Check::ok("panics"),
        Some(panic) => Check::failed(
            "panics",
            Consequence::Degraded,
            format!(
                "the thread {} failed {} seconds ago and went on; the log says why",
                panic.thread,
                ago(&panic).as_secs()
            ),
        ),
    }
}

fn drops(recent: &Totals) -> Check {
    let Totals { forwarded, lost, .. } = *recent;
    match is_above(LOSS, lost, forwarded + lost) {
        false => Check::ok("drops"),
        true => Check::failed(
            "drops",
            Consequence::Degraded,
            format!(
                "{lost} of {} media packets were dropped at full queues between shards in the last minute",
                forwarded + lost
            ),
        ),
    }
}

/// A relay that is full of sessions that make way for newcomers is ready: who hoards
/// them takes it out of no balancer.
fn sessions(now: u32, most: u32, takes_newcomers: bool) -> Check {
    let reason = format!("{now} of {most} sessions (limits.sessions)");
    match now {
        full if full >= most && !takes_newcomers => {
            Check::failed("sessions", Consequence::NotReady, reason)
        }
        many if f64::from(many) >= f64::from(most) * NEARLY => {
            Check::failed("sessions", Consequence::Degraded, reason)
        }
        _ => Check::ok("sessions"),
    }
}

fn audit(audit: &Audit) -> Check {
    match audit.is_healthy() {
        true => Check::ok("audit"),
        false => Check::failed(
            "audit",
            Consequence::Degraded,
            "the disk does not take records of the audit log; they wait",
        ),
    }
}

fn ebpf(kernel: &Statistics) -> Check {
    let (used, capacity) = (kernel.slots.used, kernel.slots.capacity);
    let problem = if kernel.mode == Mode::Off {
        None
    } else if !kernel.counting {
        let failure = kernel.failure.as_deref();
        Some(failure.unwrap_or("the kernel does not count on all interfaces").to_owned())
    } else if f64::from(used) >= f64::from(capacity) * NEARLY {
        Some(format!("{used} of {capacity} slots are used (ebpf.slots)"))
    } else {
        None
    };
    match problem {
        None => Check::ok("ebpf"),
        Some(problem) => Check::failed("ebpf", Consequence::Degraded, problem),
    }
}

fn log(recent: &Totals) -> Check {
    match recent.log_lines_dropped {
        0 => Check::ok("log"),
        lines => Check::failed(
            "log",
            Consequence::Degraded,
            format!("{lines} lines were dropped in the last minute"),
        ),
    }
}

fn is_above(share: f64, part: u64, whole: u64) -> bool {
    part as f64 > whole as f64 * share
}

#[cfg(test)]
mod tests;
