//! The loop around one shard: wait, receive, let the shard work, send.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{gettid, set_current_timer_slack};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use wzp_telemetry::audit::Audit;
use wzp_telemetry::log::target;
use wzp_telemetry::panics::attempt;

use super::failures::{self, Failures};
use super::send::Egress;
use super::socket::LANES;
use crate::audit;
use crate::auth::queue::AuthQueue;
use crate::events::Followers;
use crate::mailbox::{Letter, Mailbox, Postbox, mailbox};
use crate::privileges::confinement::{self, Confinement};
use wzp_sfu::count::reason::DropReason;
use wzp_sfu::count::reason::SessionState::Established;
use wzp_sfu::count::stats::ShardStats;
use wzp_sfu::ids::ShardIndex;
use wzp_sfu::mail::{Mail, Packet};
use wzp_sfu::shard::flow::FlowEvent;
use wzp_sfu::shard::{Outgoing, Shard, Shared};

/// Receive calls in one turn before everything received is sent on. More would
/// make the first packet wait for the last.
const RECEIVES_PER_TURN: usize = 8;

/// Letters read in one turn, for the same reason.
const LETTERS_PER_TURN: usize = 1024;

/// Largest packet taken from the network, that of an Ethernet frame. QUIC
/// peers learn it from the transport parameters and send none above.
const MAX_PACKET: usize = 1500;

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
    flows: &Sender<FlowEvent>,
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
        // Asks the kernel for destination addresses, congestion marks and
        // merged packets (GRO), and forbids fragmentation.
        let state = UdpSocketState::new((&socket).into())?;
        let size = MAX_PACKET * state.gro_segments();
        let worker = Worker {
            stats: shard.stats().clone(),
            egress: Egress::new(lanes, shard.stats().clone()),
            shard,
            socket,
            state,
            mailbox,
            postboxes: shards.postboxes.clone(),
            flows: flows.clone(),
            auth: auth.clone(),
            audit: audit.clone(),
            followers: followers.clone(),
            pause: shared.hold,
            start: shared.start,
            buffers: array::from_fn(|_| vec![0; size]),
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

struct Worker {
    shard: Shard,
    stats: Arc<ShardStats>,
    socket: UdpSocket,
    state: UdpSocketState,
    egress: Egress,
    mailbox: Mailbox,
    postboxes: Vec<Postbox>,
    flows: Sender<FlowEvent>,
    auth: AuthQueue,
    audit: Audit,
    followers: Arc<Followers>,
    /// What a busy thread lets pass between turns.
    pause: Duration,
    /// When the relay started.
    start: Instant,
    buffers: [Vec<u8>; BATCH_SIZE],
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

impl Worker {
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
        self.deliver_mail();
        self.tell();
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
            self.egress.begin_again();
        }
        attempt(|| self.deliver_mail());
        attempt(|| self.tell());
        self.stats.turn.wait();
        thread::sleep(pause);
        // What there is to do is not waited for.
        self.found = Found::TooMuch;
    }

    fn send(&mut self) {
        self.egress.send(&self.socket, self.out.packets(), self.shard.limits(), self.began);
        self.out.clear();
    }

    /// Tells others than the shards what the shard has for them.
    fn tell(&mut self) {
        for event in self.shard.take_flow_events() {
            // Nobody counts any more once the relay stops.
            let _ = self.flows.send(event);
        }
        for event in self.shard.take_session_events() {
            self.followers.tell_session(&event);
            audit::session(&self.audit, event);
        }
        for request in self.shard.take_auth_requests() {
            let shard = request.shard;
            if let Some(answer) = self.auth.ask(request) {
                self.postboxes[shard].post(answer);
            }
        }
    }

    /// Sleeps until the next turn has something to do.
    ///
    /// When the last one found something, first until the pause since it began
    /// is over, whatever comes: one turn for many packets saves system calls and
    /// wakes. After a quiet time the first packet is taken at once.
    fn wait(&mut self, began: Instant, found: Found) {
        match found {
            Found::TooMuch if self.egress.is_blocked() => return self.poll(Some(Duration::ZERO)),
            Found::TooMuch => return,
            Found::Something => {
                let rest = self.pause.saturating_sub(began.elapsed());
                if !rest.is_zero() {
                    thread::sleep(rest);
                }
            }
            Found::Nothing => {}
        }
        let timeout = [self.shard.next_timeout(), self.egress.next_timeout()];
        let timeout = timeout.into_iter().flatten().min();
        self.poll(timeout.map(|at| at.saturating_duration_since(Instant::now())));
    }

    /// Waits for packets, mail, and room in a send buffer that was full.
    fn poll(&mut self, timeout: Option<Duration>) {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let full = self.egress.full().count();
        let mut fds: [_; 2 + LANES] = {
            let mut lanes = self.egress.full().map(|(_, socket)| socket.unwrap_or(&self.socket));
            array::from_fn(|place| match place {
                0 => PollFd::new(&self.socket, PollFlags::IN),
                1 => PollFd::from_borrowed_fd(self.mailbox.wake.as_fd(), PollFlags::IN),
                _ => PollFd::new(lanes.next().unwrap_or(&self.socket), PollFlags::OUT),
            })
        };
        // An error is a signal: the loop goes round once for nothing.
        let _ = poll(&mut fds[..2 + full], timeout.as_ref());
        if fds[1].revents().contains(PollFlags::IN) {
            self.mailbox.rest();
        }
        let has_room = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::OUT);
        let lanes = self.egress.full().zip(&fds[2..]);
        // Allocates nothing while none is full.
        let opened: Vec<_> =
            lanes.filter(|(_, fd)| has_room(fd)).map(|((lane, _), _)| lane).collect();
        for lane in opened {
            self.egress.open(lane, Instant::now());
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
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut found = Found::Nothing;
        for _ in 0..RECEIVES_PER_TURN {
            let mut slices = self.buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            let received = self.state.recv((&self.socket).into(), &mut slices, &mut metas);
            // Errors are an empty socket, or an ICMP message about an earlier
            // packet, which QUIC does not act upon.
            let Ok(count) = received else { return found };
            for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
                // One allocation per packet: a frame that is held for a slow
                // receiver must not hold all packets that came with it.
                for data in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    let packet = Packet {
                        remote: meta.addr,
                        local_ip: meta.dst_ip,
                        ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                        data: BytesMut::from(data),
                    };
                    self.shard.handle_packet(now, packet, &mut self.out);
                }
            }
            found = Found::Something;
            if count < BATCH_SIZE {
                return found;
            }
        }
        Found::TooMuch
    }

    fn deliver_mail(&mut self) {
        for (to, mail) in self.shard.take_mail() {
            let carries_media = matches!(mail, Mail::Media { .. } | Mail::Packet(_));
            if !self.postboxes[to].leave(mail) && carries_media {
                self.stats.packets_dropped[DropReason::ShardQueue].add(1);
            }
            if !self.woken.contains(&to) {
                self.woken.push(to);
            }
        }
        for to in self.woken.drain(..) {
            self.postboxes[to].wake();
        }
    }
}
