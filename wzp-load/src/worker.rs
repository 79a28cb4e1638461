//! One thread of a load: joins its share of the sessions, lets them talk, and
//! counts. Nothing is shared with other threads while media flows.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::VarInt;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError as JoinTaskError, JoinSet};
use tokio::time::{sleep, sleep_until, timeout};
use wzp_proto::close::CloseCode;
use wzp_proto::control::Limits;
use wzp_transport::join::{Ended, JoinError};

use super::failure::{LoadFailure, system};
use super::options::LoadOptions;
use super::plan::Seat;
use super::session::{Common, Session, endpoint_config};
use super::talking::Talking;
use super::tally::{Tally, Traffic, histogram};
use super::window::{Clock, Window};
use wzp_command::exit::Exit;

/// After the measured time frames may still be on their way; so long at most.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Nobody is on the way any more if nobody came for so long.
const QUIET: Duration = Duration::from_millis(500);

/// How long leaving may take.
const LEAVING: Duration = Duration::from_secs(1);

/// What all threads are to do now.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// The first session of all joins, at the first address that answers.
    Probe(Arc<[SocketAddr]>),
    /// The others join at this address; the time of the first join is given.
    Join(SocketAddr, Instant),
    /// Talk from one time of the run's clock on; measure between the others.
    Measure { talk: u64, from: u64, until: u64 },
    /// Leave without more ado.
    Leave,
}

/// What a thread tells before its end.
pub(crate) enum Report {
    /// The first session of all: where it is and what it is held to.
    First(Result<(SocketAddr, Limits), JoinError>),
    /// All sessions of the thread have joined, or have failed to.
    Joined { sessions: u64, failed: u64 },
    /// The thread has ended, for whatever reason.
    Ended,
}

/// Tells of a thread's end, also of one by panic.
struct Obituary(mpsc::UnboundedSender<Report>);

impl Drop for Obituary {
    fn drop(&mut self) {
        let _ = self.0.send(Report::Ended);
    }
}

/// What a thread is given.
pub(crate) struct Worker {
    pub(crate) options: Arc<LoadOptions>,
    pub(crate) thread: usize,
    pub(crate) clock: Clock,
    pub(crate) window: Window,
    pub(crate) run: u32,
    pub(crate) client: quinn::ClientConfig,
    pub(crate) token: String,
    /// Sessions that may join at a time.
    pub(crate) joins: Arc<Semaphore>,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

impl Worker {
    /// Does it all.
    pub(crate) fn run(self) -> Result<Tally, LoadFailure> {
        let _obituary = Obituary(self.reports.clone());
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = runtime.map_err(system("start the event loop"))?;
        let common = Rc::new(Common {
            options: self.options,
            clock: self.clock,
            window: self.window,
            run: self.run,
            client: self.client,
            token: self.token,
            endpoint: endpoint_config().map_err(system("start the event loop"))?,
            latency: RefCell::new(histogram()),
            heard: Cell::new(0),
            foreign: Cell::new(0),
            refused: Cell::new(0),
        });
        let share = Share {
            thread: self.thread,
            common,
            joins: self.joins,
            stage: self.stage,
            reports: self.reports,
            sessions: Vec::new(),
            tally: Tally::default(),
        };
        Ok(runtime.block_on(share.work()))
    }
}

/// A thread's share of the load.
struct Share {
    thread: usize,
    common: Rc<Common>,
    joins: Arc<Semaphore>,
    stage: watch::Receiver<Stage>,
    reports: mpsc::UnboundedSender<Report>,
    sessions: Vec<Session>,
    tally: Tally,
}

impl Share {
    async fn work(mut self) -> Tally {
        if self.join().await {
            let joined = self.sessions.len() as u64;
            let failed = self.tally.join_failures.total();
            let _ = self.reports.send(Report::Joined { sessions: joined, failed });
            self.measure().await;
        }
        self.finish().await
    }

    /// Joins all sessions. False if the load is over before.
    async fn join(&mut self) -> bool {
        let options = Arc::clone(&self.common.options);
        let mut seats = options.seats(self.thread);
        let mut stage = self.stage.clone();
        let joining = async {
            if self.thread == 0
                && let Some(first) = seats.next()
                && !self.join_first(first).await
            {
                return false;
            }
            self.join_rest(seats).await
        };
        tokio::select! {
            done = joining => done,
            _ = stage.wait_for(|stage| matches!(stage, Stage::Leave)) => false,
        }
    }

    async fn join_first(&mut self, seat: Seat) -> bool {
        let Stage::Probe(addresses) = self.stage.borrow().clone() else { return false };
        let mut failure = None;
        for &address in addresses.iter() {
            let begun = Instant::now();
            match Session::join(Rc::clone(&self.common), seat, address).await {
                Ok(session) => {
                    let first = (address, session.limits);
                    self.joined(session, begun.elapsed());
                    return self.reports.send(Report::First(Ok(first))).is_ok();
                }
                // The first failure is the one to tell: the resolver put it first.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let failure = failure.unwrap_or(JoinError::Ended(Ended::TimedOut));
        let _ = self.reports.send(Report::First(Err(failure)));
        false
    }

    async fn join_rest(&mut self, seats: impl Iterator<Item = Seat>) -> bool {
        let (relay, start) = loop {
            if let Stage::Join(relay, start) = *self.stage.borrow_and_update() {
                break (relay, start);
            }
            if self.stage.changed().await.is_err() {
                return false;
            }
        };
        let mut joining = JoinSet::new();
        for seat in seats {
            if let Some(rate) = self.common.options.joins_per_second {
                let due = Duration::from_secs_f64(seat.number as f64 / rate);
                sleep_until((start + due).into()).await;
            }
            let Ok(permit) = Arc::clone(&self.joins).acquire_owned().await else { return false };
            let common = Rc::clone(&self.common);
            joining.spawn_local(async move {
                let begun = Instant::now();
                let joined = Session::join(common, seat, relay).await;
                drop(permit);
                (joined, begun.elapsed())
            });
            while let Some(done) = joining.try_join_next() {
                self.arrived(done);
            }
        }
        while let Some(done) = joining.join_next().await {
            self.arrived(done);
        }
        true
    }

    fn arrived(&mut self, done: Result<(Result<Session, JoinError>, Duration), JoinTaskError>) {
        match done {
            Ok((Ok(session), took)) => self.joined(session, took),
            Ok((Err(error), _)) => {
                let exit = Exit::of(&error);
                self.tally.join_failures.add(reason(error), exit);
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn joined(&mut self, session: Session, took: Duration) {
        self.tally.join.saturating_record(took.as_nanos() as u64);
        self.sessions.push(session);
    }

    /// Lets the talkers talk until the end of the measured time.
    async fn measure(&mut self) {
        let Some(start) = self.talking_from().await else { return };
        let mut talking = Talking::new(&self.common, &self.sessions, start);
        let readings = tokio::select! {
            readings = self.readings() => readings,
            () = talking.go_on(&self.common) => None,
        };
        self.tally.lag = talking.finish(&mut self.sessions);
        if let Some((before, after)) = readings {
            self.tally.traffic = after.traffic.since(before.traffic);
            self.tally.busy = after.busy_since(&before);
            self.stragglers().await;
        }
    }

    /// When talking is to begin, once that is known. `None` if it never does.
    async fn talking_from(&self) -> Option<u64> {
        let mut stage = self.stage.clone();
        loop {
            match *stage.borrow_and_update() {
                Stage::Measure { talk, .. } => return Some(talk),
                Stage::Leave => return None,
                Stage::Probe(_) | Stage::Join(..) => {}
            }
            stage.changed().await.ok()?;
        }
    }

    /// At the start and at the end of the measured time. `None` if it is not
    /// to come.
    async fn readings(&self) -> Option<(Reading, Reading)> {
        let mut stage = self.stage.clone();
        let mut reached = async |pick: fn(u64, u64) -> u64| loop {
            let Stage::Measure { from, until, .. } = *stage.borrow_and_update() else {
                return None;
            };
            tokio::select! {
                () = sleep_until(self.common.clock.at(pick(from, until)).into()) => {
                    return Some(Reading::take(self.common.clock, &self.sessions));
                }
                changed = stage.changed() => changed.ok()?,
            }
        };
        let before = reached(|from, _| from).await?;
        let after = reached(|_, until| until).await?;
        Some((before, after))
    }

    /// Waits for the last frames.
    async fn stragglers(&self) {
        let deadline = Instant::now() + STRAGGLERS;
        loop {
            let heard = self.common.heard.get();
            sleep(QUIET).await;
            if self.common.heard.get() == heard || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Leaves, and gives what was counted.
    async fn finish(mut self) -> Tally {
        for session in &self.sessions {
            if let Some(end) = session.connection.close_reason() {
                self.tally.sessions_lost.add(reason(Ended::from(end).into()), Exit::Lost);
            }
            let done = VarInt::from_u32(CloseCode::Done.wire());
            session.connection.close(done, b"the participant left");
        }
        let gone = async {
            for session in &self.sessions {
                session.endpoint.wait_idle().await;
            }
        };
        // Who has not heard of it by then finds out by itself.
        let _ = timeout(LEAVING, gone).await;
        self.tally.sessions = self.sessions.iter().map(Session::tally).collect();
        self.tally.latency = self.common.latency.replace(histogram());
        self.tally.foreign = self.common.foreign.get();
        self.tally.refused = self.common.refused.get();
        self.tally
    }
}

/// In a word if there is one, otherwise in a sentence.
fn reason(error: JoinError) -> String {
    match error {
        JoinError::Ended(Ended::Closed { code, .. }) => code.name().to_owned(),
        other => other.to_string(),
    }
}

/// What the thread has used and transported at some time.
struct Reading {
    at: u64,
    cpu: Duration,
    traffic: Traffic,
}

impl Reading {
    fn take(clock: Clock, sessions: &[Session]) -> Self {
        let at = clock.now();
        let cpu = cpu_time(ClockId::ThreadCPUTime);
        let mut traffic = Traffic::default();
        for session in sessions {
            let stats = session.connection.stats();
            traffic.add(Traffic {
                packets_sent: stats.udp_tx.datagrams,
                packets_received: stats.udp_rx.datagrams,
                frames_received: stats.frame_rx.datagram,
            });
        }
        Self { at, cpu, traffic }
    }

    /// CPU time per time.
    fn busy_since(&self, earlier: &Self) -> f64 {
        let passed = Duration::from_nanos(self.at.saturating_sub(earlier.at)).as_secs_f64();
        if passed > 0.0 { self.cpu.saturating_sub(earlier.cpu).as_secs_f64() / passed } else { 0.0 }
    }
}

/// User and system time so far.
pub(crate) fn cpu_time(of: ClockId) -> Duration {
    let time = clock_gettime(of);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
