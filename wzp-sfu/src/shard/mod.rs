//! The media plane. A shard is a state machine: packets, mail and time go in;
//! packets, mail and a next wake-up come out. It opens no socket, reads no
//! clock and shares nothing with other shards but mail and counters, so a
//! whole relay runs in a test in virtual time.
//!
//! One turn: [`Shard::handle_packet`], [`Shard::handle_mail`] and
//! [`Shard::handle_timeouts`] for whatever has come, then one
//! [`Shard::flush`], which fans out all that was received before it writes the
//! first packet: frames for the same receiver leave in one packet. A receiver
//! whose packet is not full may wait for a later turn.

mod arrival;
mod auth;
mod cid;
mod dispatch;
mod end;
pub mod event;
mod failure;
mod life;
mod outgoing;
mod output;
mod places;
mod rooms;
mod timers;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{
    ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, Event as QuicEvent, ServerConfig,
    StreamEvent, TimeSource,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wzp_proto::close::CloseCode;
use wzp_proto::media::{self, HeaderError};
use wzp_proto::placement::PlacementKey;

use crate::access::Patience;
use crate::admission::Admission;
use crate::conn::Close;
use crate::count::decisions::Decisions;
use crate::count::reason::{DropReason, EndReason};
use crate::count::rooms::RoomCounts;
use crate::count::sessions::SessionBook;
use crate::count::stats::ShardStats;
use crate::ids::{SessionId, ShardIndex};
use crate::limits::Limits;
use crate::mail::{Mail, MediaMail, Packet, RoomMail};
use crate::path::Path;
use crate::room::directory::Directory;
use crate::room::local::LocalRooms;
use crate::session::{Phase, Session};
use cid::ShardCids;
use end::end_reason;
use event::{Event, Lines};
use life::Life;
pub use outgoing::{OutPacket, Outgoing};
pub use output::Output;
use output::Outputs;
use places::{Deferred, MOST_DEFERRED};
use timers::Timers;

/// At most so often does a shard tell a client of an earlier process that its
/// connection is gone. quinn's 20 ms would take a minute for thousands of them.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Timers of sessions fire together, at multiples of this: a wake-up for each
/// would cost more than the media. QUIC counts on 1 ms (RFC 9002 section 6.1.2)
/// and what schedulers add.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// What every shard of a relay has in common.
#[derive(Clone)]
pub struct Shared {
    /// Program and version, as clients are told.
    pub software: &'static str,
    /// Number of shards.
    pub shards: usize,
    /// Which of them is a room's home.
    pub placement: PlacementKey,
    /// What a peer may do.
    pub limits: Arc<Limits>,
    /// TLS identity and QUIC parameters.
    pub server: Arc<ServerConfig>,
    /// Signs stateless resets (RFC 9000 section 10.3).
    pub reset_key: Arc<dyn quinn_proto::crypto::HmacKey>,
    /// The books on connections and sessions.
    pub admission: Arc<Admission>,
    /// Forwarding counts per room.
    pub rooms: Arc<RoomCounts>,
    /// What is known of each session.
    pub sessions: Arc<SessionBook>,
    /// Whether whoever says Hello has to wait for a decision, and how long.
    pub auth: Arc<Patience>,
    /// Where it is counted if the decision does not come in time.
    pub decisions: Arc<Decisions>,
    /// How long a frame that the shard has may wait for others to leave with in
    /// one packet.
    pub hold: Duration,
    /// When the relay started.
    pub start: Instant,
    /// The wall clock, which may be set at any time: for what clients and operators are
    /// told, and for grants that end at a time of day. Read when a session joins and
    /// every ten seconds of one that has such a grant; never per packet.
    pub clock: Arc<dyn TimeSource>,
}

/// One shard.
pub struct Shard {
    index: ShardIndex,
    shared: Shared,
    stats: Arc<ShardStats>,
    endpoint: Endpoint,
    /// By the endpoint's connection handle.
    sessions: Vec<Option<Box<Session>>>,
    by_id: HashMap<SessionId, usize>,
    rooms: LocalRooms,
    directory: Directory,
    timers: Timers,
    /// Connections to look at before the turn ends, each once.
    touched: Vec<usize>,
    /// Those of them that are being written, empty between turns.
    writing: Vec<usize>,
    /// Those of them that wait for the next turn, empty between turns.
    waiting: Vec<usize>,
    /// When the first of them can wait no longer.
    waiting_until: Option<Instant>,
    own_mail: VecDeque<Mail>,
    /// What the directory has to say, empty while it does nothing.
    home_mail: Vec<(ShardIndex, RoomMail)>,
    outputs: Outputs,
    /// What it may log.
    lines: Lines,
    life: Life,
    /// Sessions that have not been told of it.
    untold: Range<usize>,
    /// First packets that wait, the oldest first.
    deferred: VecDeque<Deferred>,
    /// Packets of connections that nobody knows are answered from then on.
    resets_from: Instant,
    rng: StdRng,
    now: Instant,
}

impl Shard {
    /// A shard with no connections. `seed` feeds connection and session ids:
    /// secret in a relay, fixed in a test.
    pub fn new(index: ShardIndex, shared: Shared, seed: [u8; 32], now: Instant) -> Self {
        Self::counting_in(Arc::default(), index, shared, seed, now)
    }

    /// The same for one that goes on counting where another has ended.
    fn counting_in(
        stats: Arc<ShardStats>,
        index: ShardIndex,
        shared: Shared,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let shards = shared.shards;
        let mut config = EndpointConfig::new(shared.reset_key.clone());
        let cid_seed: [u8; 32] = rng.random();
        config
            .cid_generator(move || {
                Box::new(ShardCids::new(index, shards, StdRng::from_seed(cid_seed)))
            })
            .rng_seed(Some(rng.random()))
            .min_reset_interval(RESET_INTERVAL);
        let server = Some(shared.server.clone());
        // Path MTU discovery is off for all connections: see wzp-transport.
        let endpoint = Endpoint::new(Arc::new(config), server, false, None);
        Self {
            index,
            endpoint,
            sessions: Vec::new(),
            by_id: HashMap::new(),
            rooms: LocalRooms::new(index, shared.rooms.clone()),
            directory: Directory::new(index, &shared.limits, stats.clone()),
            stats,
            timers: Timers::default(),
            touched: Vec::new(),
            writing: Vec::new(),
            waiting: Vec::new(),
            waiting_until: None,
            own_mail: VecDeque::new(),
            home_mail: Vec::new(),
            outputs: Outputs::new(),
            lines: Lines::default(),
            life: Life::Serving,
            untold: 0..0,
            deferred: VecDeque::new(),
            resets_from: now,
            rng,
            now,
            shared,
        }
    }

    /// This shard's number.
    pub fn index(&self) -> ShardIndex {
        self.index
    }

    /// What a peer may do, as last set.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// What this shard counts.
    pub fn stats(&self) -> &Arc<ShardStats> {
        &self.stats
    }

    /// Takes a UDP packet; answers to packets of no connection go to `out`.
    pub fn handle_packet(&mut self, now: Instant, packet: Packet, out: &mut Outgoing) {
        self.now = now;
        self.stats.udp_packets_received.add(1);
        self.stats.udp_bytes_received.add(packet.data.len() as u64);
        match cid::shard_of(&packet.data, self.shared.shards) {
            Some(shard) if shard != self.index => {
                self.stats.misrouted_packets.add(1);
                self.post(shard, packet);
            }
            _ => self.receive(packet, out),
        }
    }

    fn receive(&mut self, packet: Packet, out: &mut Outgoing) {
        let Packet { path: Path { remote, local }, ecn, data } = packet;
        let length = data.len();
        // With a short header (RFC 9000 section 17.3) only a stateless reset can come.
        let is_short = data.first().is_some_and(|first| first & 0x80 == 0);
        let mut event = None;
        out.write(|buffer| {
            match self.endpoint.handle(self.now, remote, local, ecn, data, buffer) {
                Some(DatagramEvent::Response(_)) if is_short && self.now < self.resets_from => None,
                Some(DatagramEvent::Response(transmit)) => Some(transmit),
                other => {
                    event = other;
                    None
                }
            }
        });
        match event {
            Some(DatagramEvent::ConnectionEvent(ConnectionHandle(connection), event)) => {
                if let Some(session) = &mut self.sessions[connection] {
                    let is_taken = session.receive(self.now, remote, length, event);
                    self.stats.moves_refused.add((!is_taken).into());
                    self.touch(connection);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let may_wait = self.deferred.len() < MOST_DEFERRED;
                self.accept(incoming, length, may_wait, out);
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Takes mail from another shard or the control plane; answers to packets
    /// of no connection go to `out`.
    pub fn handle_mail(&mut self, now: Instant, mail: Mail, out: &mut Outgoing) {
        self.now = now;
        self.dispatch(mail, out);
    }

    /// Does what is due by `now`.
    pub fn handle_timeouts(&mut self, now: Instant) {
        self.now = now;
        self.live();
        while let Some(number) = self.timers.pop(now) {
            let Some(session) = &mut self.sessions[number] else { continue };
            // Most wake-ups were overtaken: each packet puts off the time at which
            // its loss would be noticed.
            match session.next_timeout() {
                Some(later) if later > now => {
                    self.timers.wake_by(number, later);
                    continue;
                }
                _ => session.conn.quic.handle_timeout(now),
            }
            if session.is_gone(now) {
                session.conn.forget_at = Some(now);
                self.end(number, EndReason::IdleTimeout, None);
                continue;
            }
            let Shared { limits, clock, .. } = &self.shared;
            let verdict = session.handle_deadlines(now, limits, &**clock, &self.stats);
            let decides_late = session.decides_late(now);
            if let Phase::Handshaking { deadline } = *session.phase()
                && deadline <= now
            {
                // QUIC hides the sentence until the handshake is done.
                let close = Close::new(CloseCode::HelloTimeout, "the handshake took too long");
                self.end(number, EndReason::HandshakeTimeout, Some(close));
            }
            if decides_late {
                self.decide_late(number);
            }
            self.touch(number);
            self.settle(number, verdict);
        }
    }

    /// When [`Self::handle_timeouts`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        let timers = [self.timers.next(), self.directory.next_timeout()].into_iter().flatten();
        let timers = timers.min().map(|at| self.on_grain(at));
        let word = (!self.untold.is_empty()).then_some(self.now);
        let deferred = self.deferred.front().map(|first| first.until);
        let others = [word, self.drain_deadline(), self.waiting_until, deferred];
        others.into_iter().chain([timers]).flatten().min()
    }

    /// The first multiple of [`TIMER_GRAIN`] after `at`.
    fn on_grain(&self, at: Instant) -> Instant {
        let start = self.shared.start;
        let grain = TIMER_GRAIN.as_micros() as u64;
        let since = at.saturating_duration_since(start).as_micros() as u64;
        start + Duration::from_micros((since + 1).next_multiple_of(grain))
    }

    /// Connections that QUIC still knows, ended ones included.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections().max(self.sessions.iter().flatten().count())
    }

    /// Puts a connection on the list of those to look at in this turn.
    fn touch(&mut self, number: usize) {
        if let Some(session) = &mut self.sessions[number] {
            mark(&mut self.touched, number, session);
        }
    }

    /// Acts on what QUIC has to say about a connection.
    fn handle_events(&mut self, number: usize) {
        while let Some(session) = &mut self.sessions[number] {
            let Some(event) = session.conn.quic.poll() else { return };
            match event {
                QuicEvent::Connected => self.connected(number),
                QuicEvent::DatagramReceived => self.receive_media(number),
                QuicEvent::Stream(StreamEvent::Opened { .. } | StreamEvent::Readable { .. }) => {
                    self.handle_messages(number);
                }
                QuicEvent::Stream(StreamEvent::Writable { .. }) => session.conn.write_control(),
                QuicEvent::ConnectionLost { reason } => {
                    if let Phase::Handshaking { .. } = session.phase() {
                        session.conn.failure = Some(reason.to_string());
                    }
                    self.end(number, end_reason(&reason), None);
                }
                QuicEvent::HandshakeDataReady
                | QuicEvent::Stream(_)
                | QuicEvent::DatagramsUnblocked => {}
            }
        }
    }

    fn connected(&mut self, number: usize) {
        let Some(session) = &mut self.sessions[number] else { return };
        session.conn.connected();
        let peer = session.conn.peer();
        session.conn.known_address = Some(peer);
        let event = Event::Connected { session: session.conn.id, peer };
        if let Phase::Handshaking { .. } = session.phase() {
            let deadline = self.now + self.shared.limits.hello_timeout;
            session.set_phase(Phase::AwaitingHello { deadline }, &self.stats.states);
            session.conn.trace = event.span(session.conn.began, self.now, None);
            let trace_id = session.conn.trace.as_ref().and_then(event::exemplar);
            let took = self.now.duration_since(session.conn.began);
            self.shared.sessions.distributions.handshake.observe_with(took, trace_id);
        }
        let takes_datagrams = session.conn.quic.datagrams().max_size().is_some();
        self.emit(event);
        if !takes_datagrams {
            let text = "this client does not take QUIC datagrams (RFC 9221)";
            self.settle(number, Err(Close::new(CloseCode::DatagramsRequired, text)));
        }
    }

    /// Forwards everything a participant sent.
    fn receive_media(&mut self, number: usize) {
        while let Some(session) = &mut self.sessions[number]
            && !session.has_ended()
            && let Some(frame) = session.conn.quic.datagrams().recv()
        {
            self.stats.media_packets_received.add(1);
            self.stats.media_bytes_received.add(frame.len() as u64);
            if let Err(reason) = self.forward(number, frame) {
                self.stats.packets_dropped[reason].add(1);
                if let Some(session) = &mut self.sessions[number] {
                    session.note_drop(self.now, reason);
                }
            }
        }
    }

    /// Checks one media datagram and passes it to the rest of the room.
    fn forward(&mut self, from: usize, frame: Bytes) -> Result<(), DropReason> {
        let Some(session) = &mut self.sessions[from] else { return Ok(()) };
        let seat = session.seat().ok_or(DropReason::NotJoined)?;
        let sender = media::sender_of(&frame).map_err(|error| match error {
            HeaderError::Short => DropReason::Short,
            HeaderError::Version(_) => DropReason::Version,
            HeaderError::Kind(_) | HeaderError::Profile(_) => DropReason::Kind,
        })?;
        if sender != seat.sender_id {
            return Err(DropReason::SenderId);
        }
        if let Some(vitals) = &mut session.vitals {
            // What the relay does not forward has come all the same.
            vitals.arrived(self.now, media::sequence_of(&frame));
        }
        if !session.grant.publish {
            return Err(DropReason::MayNotPublish);
        }
        session.admit_media(self.now, frame.len(), &self.shared.limits)?;
        session.spoke = Some(self.now);
        let due = self.now + self.shared.hold;
        for shard in &self.rooms.room(seat.room).routes {
            let (room, frame) = (seat.room_id, frame.clone());
            let mail = MediaMail::Frame { room, sender_id: sender, frame, due };
            self.outputs.push_back(Output::Mail(*shard, mail.into()));
        }
        self.deliver(seat.room, sender, &frame, due);
        Ok(())
    }
}

/// The same as [`Shard::touch`] where the session is already at hand.
fn mark(touched: &mut Vec<usize>, number: usize, session: &mut Session) {
    if !session.conn.is_touched {
        session.conn.is_touched = true;
        touched.push(number);
    }
}
