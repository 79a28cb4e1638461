//! The loop around one shard: wait, receive, let the shard work, send.

use std::io;
use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{gettid, set_current_timer_slack};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use wzp_telemetry::audit::Audit;
use wzp_telemetry::log::target;
use wzp_telemetry::panics::attempt;

use super::datapath::{Datapath, Received};
use super::failures::{self, Failures};
use super::udp::Udp;
use crate::audit;
use crate::auth::queue::AuthQueue;
use crate::events::Followers;
use crate::mailbox::{Letter, Mailbox, Postbox, mailbox};
use crate::privileges::confinement::{self, Confinement};
use wzp_sfu::count::reason::SessionState::Established;
use wzp_sfu::count::reason::{DropReason, ReportRefusal};
use wzp_sfu::count::stats::ShardStats;
use wzp_sfu::ids::ShardIndex;
use wzp_sfu::mail::{Mail, MediaMail};
use wzp_sfu::shard::event::Event;
use wzp_sfu::shard::{Outgoing, Output, Shard, Shared};

/// Receive calls in one turn before everything received is sent on. More would
/// make the first packet wait for the last.
const RECEIVES_PER_TURN: usize = 8;

/// Letters read in one turn, for the same reason.
const LETTERS_PER_TURN: usize = 1024;

/// The running shards, seen from the control plane.
pub struct Shards {
    /// One per shard.
    pub postboxes: Vec<Postbox>,
    /// One per shard.
    pub stats: Vec<Arc<ShardStats>>,
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::UnboundedReceiver<()>,
}

/// Starts one thread per socket; what becomes of flows is told to `flows`, and
/// `auth` is asked who may join, and `audit` and `followers` hear what became of
/// sessions. `lanes` are the shards' further sockets to send by.
///
/// # Errors
/// The system has no more threads or descriptors.
pub fn start(
    shared: &Shared,
    sockets: Vec<UdpSocket>,
    lanes: Vec<Vec<UdpSocket>>,
    flows: &Sender<Event>,
    auth: &AuthQueue,
    audit: &Audit,
    followers: &Arc<Followers>,
) -> io::Result<Shards> {
    let boxes: Vec<_> = sockets.iter().map(|_| mailbox()).collect::<Result<_, _>>()?;
    let (postboxes, mailboxes): (Vec<_>, Vec<_>) = boxes.into_iter().unzip();
    let (ending, ended) = mpsc::unbounded_channel();
    let mut shards = Shards { postboxes, stats: Vec::new(), threads: Vec::new(), ended };
    let parts = sockets.into_iter().zip(lanes).zip(mailboxes);
    for (index, ((socket, lanes), mailbox)) in parts.enumerate() {
        let shard = Shard::new(index, shared.clone(), rand::random(), Instant::now());
        shards.stats.push(shard.stats().clone());
        let ending = Ending(ending.clone());
        let worker = Worker {
            stats: shard.stats().clone(),
            datapath: Udp::new(socket, lanes, shard.stats().clone())?,
            shard,
            mailbox,
            postboxes: shards.postboxes.clone(),
            flows: flows.clone(),
            auth: auth.clone(),
            audit: audit.clone(),
            followers: followers.clone(),
            pause: shared.hold,
            start: shared.start,
            out: Outgoing::default(),
            woken: Vec::new(),
            began: Instant::now(),
            found: Found::Nothing,
            is_stopping: false,
            failures: Failures::default(),
        };
        let thread = thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let _ending = ending;
            confine(index);
            worker.run();
        })?;
        shards.threads.push(thread);
    }
    Ok(shards)
}

/// Leaves the thread of a shard nothing but its sockets and its memory.
fn confine(shard: ShardIndex) {
    match confinement::confine() {
        Ok(Confinement::Full) => {}
        // Once is enough.
        Ok(confinement) if shard == 0 => {
            info!(target: target::PRIVILEGES, landlock = confinement.name(), "this kernel cannot fully confine the shards");
        }
        Ok(_) => {}
        Err(error) => {
            warn!(target: target::PRIVILEGES, %error, shard, "the shard's thread is not confined")
        }
    }
}

impl Shards {
    /// Waits until a shard's thread ends, which none does before
    /// [`Self::stop`] unless its shard failed and cannot begin again.
    pub async fn failed(&mut self) {
        self.ended.recv().await;
    }

    /// Ends all threads and waits for them.
    pub fn stop(self) {
        self.postboxes.iter().for_each(Postbox::stop);
        for thread in self.threads {
            // A panic has already said its piece on stderr.
            let _ = thread.join();
        }
    }
}

/// Tells the control plane when it is dropped: its thread has ended, whatever
/// ended it.
struct Ending(mpsc::UnboundedSender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens any more once the relay stops.
        let _ = self.0.send(());
    }
}

struct Worker<D> {
    shard: Shard,
    stats: Arc<ShardStats>,
    datapath: D,
    mailbox: Mailbox,
    postboxes: Vec<Postbox>,
    flows: Sender<Event>,
    auth: AuthQueue,
    audit: Audit,
    followers: Arc<Followers>,
    /// What a busy thread lets pass between turns.
    pause: Duration,
    /// When the relay started.
    start: Instant,
    out: Outgoing,
    /// Shards that a turn left mail for, empty between turns.
    woken: Vec<ShardIndex>,
    /// When the turn began, and what it found.
    began: Instant,
    found: Found,
    /// Whether the thread is to end with this turn.
    is_stopping: bool,
    failures: Failures,
}

#[cfg(panic = "abort")]
compile_error!("a shard that panics must not end the others: build with panic = \"unwind\"");

/// What a turn found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// At most timers.
    Nothing,
    /// Packets or mail, and took them all.
    Something,
    /// So much that some is left for the next turn.
    TooMuch,
}

impl<D: Datapath> Worker<D> {
    fn run(mut self) {
        self.stats.thread.set(gettid().as_raw_nonzero().get().unsigned_abs().into());
        // Two sleeps in a frame's way, and Linux adds up to 50 us to each.
        // Refused, it is only later.
        let _ = set_current_timer_slack(NonZeroU64::new(1_000));
        while !self.is_stopping {
            // The panic hook tells of it.
            if !attempt(|| self.turn()) {
                self.begin_again();
            }
        }
    }

    fn turn(&mut self) {
        self.stats.turn.wait();
        self.wait(self.began, self.found);
        let began = Instant::now();
        self.began = began;
        self.stats.turn.work(began.saturating_duration_since(self.start));
        let mail = self.read_mail(began);
        self.found = mail.max(self.receive(began));
        self.shard.handle_timeouts(began);
        self.shard.flush(began, &mut self.out);
        self.send();
        self.hand_on();
    }

    /// After a panic: has the shard's clients told and everything of theirs given
    /// back, and the shard begin again. The other shards go on all the time.
    fn begin_again(&mut self) {
        let now = Instant::now();
        let (shard, sessions) = (self.shard.index(), self.stats.states[Established].get());
        let pause = self.failures.pause_after(now);
        self.stats.failures.add(1);
        if !pause.is_zero() {
            let until = now.saturating_duration_since(self.start) + failures::WINDOW;
            self.stats.failing_until_ms.set(until.as_millis() as u64);
        }
        error!(target: target::SHARD, shard, sessions, ?pause, "a shard failed; it begins again, without its sessions");
        audit::shard_failed(&self.audit, shard);
        self.followers.tell("shard_failed", || json!({ "shard": shard, "sessions": sessions }));
        self.shard.begin_again(rand::random(), now, &mut self.out);
        // It may have been one of these that failed.
        if !attempt(|| self.send()) {
            self.out.clear();
            self.datapath.begin_again();
        }
        while !attempt(|| self.hand_on()) {}
        self.stats.turn.wait();
        thread::sleep(pause);
        // What there is to do is not waited for.
        self.found = Found::TooMuch;
    }

    fn send(&mut self) {
        self.datapath.send(self.out.packets(), self.shard.limits(), self.began);
        self.out.clear();
    }

    /// Sleeps until the next turn has something to do.
    ///
    /// When the last one found something, first until the pause since it began
    /// is over, whatever comes: one turn for many packets saves system calls and
    /// wakes. After a quiet time the first packet is taken at once.
    fn wait(&mut self, began: Instant, found: Found) {
        let at_most = match found {
            Found::TooMuch => Some(Duration::ZERO),
            Found::Something | Found::Nothing => {
                if found == Found::Something {
                    let rest = self.pause.saturating_sub(began.elapsed());
                    if !rest.is_zero() {
                        thread::sleep(rest);
                    }
                }
                let timeout = self.shard.next_timeout();
                timeout.map(|at| at.saturating_duration_since(Instant::now()))
            }
        };
        if self.datapath.wait(self.mailbox.wake.as_fd(), at_most) {
            self.mailbox.rest();
        }
    }

    /// Gives the shard its mail.
    fn read_mail(&mut self, now: Instant) -> Found {
        let mut found = Found::Nothing;
        for _ in 0..LETTERS_PER_TURN {
            match self.mailbox.take() {
                Some(Letter::Mail(mail)) => self.shard.handle_mail(now, mail, &mut self.out),
                Some(Letter::Stop) => {
                    self.is_stopping = true;
                    // Whoever is still here is told before the last flush.
                    self.shard.stop(now);
                    return Found::Something;
                }
                None => return found,
            }
            found = Found::Something;
        }
        Found::TooMuch
    }

    /// Gives the shard what has come.
    fn receive(&mut self, now: Instant) -> Found {
        let mut found = Found::Nothing;
        for _ in 0..RECEIVES_PER_TURN {
            let take = |packet| self.shard.handle_packet(now, packet, &mut self.out);
            match self.datapath.receive(take) {
                Received::Nothing => return found,
                Received::All => return Found::Something,
                Received::Full => found = Found::Something,
            }
        }
        Found::TooMuch
    }

    /// Hands on what the shard has for others. Each thing leaves the queue before it is
    /// handed on, so what makes one panic does not keep the others.
    fn hand_on(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Mail(to, mail) => self.deliver(to, mail),
                Output::Event(event) => self.tell(event),
                Output::Question(request) => {
                    let shard = request.shard;
                    if let Some(answer) = self.auth.ask(request) {
                        self.postboxes[shard].post(answer);
                    }
                }
            }
        }
        for to in self.woken.drain(..) {
            self.postboxes[to].wake();
        }
    }

    fn deliver(&mut self, to: ShardIndex, mail: Mail) {
        let carries_media = matches!(mail, Mail::Media(MediaMail::Frame { .. }) | Mail::Packet(_));
        if !self.postboxes[to].deposit(mail) {
            match carries_media {
                true => self.stats.packets_dropped[DropReason::ShardQueue].add(1),
                false => self.stats.reports_refused[ReportRefusal::ShardQueue].add(1),
            }
        }
        if !self.woken.contains(&to) {
            self.woken.push(to);
        }
    }

    fn tell(&self, event: Event) {
        self.followers.tell_session(&event);
        audit::session(&self.audit, &event);
        // Nobody counts any more once the relay stops.
        let _ = self.flows.send(event);
    }
}
