//! One participant's connection: where it is in its life, what it may do, and
//! what waits for it. Knows nothing of rooms' other members; the shard does.

pub mod admission;
pub(crate) mod backlog;
mod bundle;
mod credit;
mod delivery;
mod downlink;
pub mod feedback;
mod loss;
mod meter;
mod notices;
mod outbox;
pub mod peer;
mod presence;
mod reports;
mod vitals;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{Connection, ConnectionEvent, Dir, ReadError, ReadableError, StreamId, Transmit};
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    ClientMessage, Hello, Ping, RelayMessage, SourceReport, client_message, relay_message,
};
use wzp_proto::framing::{self, Deframer, FramingError};
use wzp_telemetry::trace::SpanContext;
use wzp_transport::parameters::INITIAL_RTT;

use crate::auth::{Decided, Grant};
use crate::config::Limits;
use crate::metrics::distributions::Distributions;
use crate::metrics::reason::{DropReason, PerReason, SessionState};
use crate::metrics::sessions::SessionHandle;
use crate::metrics::stats::ShardStats;
use crate::room::local::RoomKey;
use crate::room::{RoomId, SessionId};
use admission::Permit;
use backlog::Backlog;
use bundle::Bundle;
use credit::{Credit, Verdict};
use delivery::Delivery;
use downlink::Sent;
use feedback::{Feedback, Hearing};
use meter::Meter;
use notices::Notices;
use outbox::{Outbox, Overflow};
use presence::Presence;
use vitals::Vitals;

/// Burst of media that may come at once: one second's worth, what a client
/// sends when its network was stuck for so long.
const MEDIA_BURST: Duration = Duration::from_secs(1);

/// Burst of control messages, in time at the allowed rate.
const MESSAGE_BURST: Duration = Duration::from_secs(5);

/// Moves to another host that may come at once; then one a second. Each has the relay
/// send 1200 bytes there before it knows that the peer is (RFC 9000 section 8.2.1),
/// whoever's address it is. Another port of the same host is no such move.
const MOVES_BURST: Duration = Duration::from_secs(5);

/// How long mail may take that was about to be written.
const IN_THE_MAIL: Duration = Duration::from_secs(1);

/// How long a room's home may take to answer: microseconds, unless its shard failed
/// over the question.
pub(crate) const HOME_ANSWERS: Duration = Duration::from_secs(5);

/// Where a connection is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// QUIC and TLS are not done.
    Handshaking { deadline: Instant },
    /// Hello has not come.
    AwaitingHello { deadline: Instant },
    /// The control plane has been asked whether it may join.
    Authenticating { deadline: Instant, hello: Box<Hello>, decided: Decided },
    /// The room's home has been asked.
    Joining { deadline: Instant },
    /// In a room.
    Joined(Seat),
    /// Over. QUIC may still have a last packet to send.
    Ended,
}

impl Phase {
    fn state(&self) -> SessionState {
        match self {
            Self::Handshaking { .. } => SessionState::Handshaking,
            Self::AwaitingHello { .. } => SessionState::AwaitingHello,
            Self::Authenticating { .. } => SessionState::Authenticating,
            Self::Joining { .. } => SessionState::Joining,
            Self::Joined(_) => SessionState::Established,
            Self::Ended => SessionState::Closing,
        }
    }
}

/// A place in a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) room: RoomKey,
    pub(crate) room_id: RoomId,
    pub(crate) sender_id: u16,
}

/// A session's end, wanted by the relay: the code and a sentence for the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: CloseCode,
    pub(crate) text: String,
}

impl Close {
    pub(crate) fn new(code: CloseCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// One participant.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) connection: Connection,
    phase: Phase,
    /// When its first packet came.
    pub(crate) began: Instant,
    /// How others in the room call it, once it has asked to join.
    pub(crate) name: String,
    /// What it may do in a room.
    pub(crate) grant: Grant,
    /// Its handshake's span, while traces are sent.
    pub(crate) trace: Option<SpanContext>,
    /// When its Hello came.
    pub(crate) asked_at: Option<Instant>,
    /// What the connection's empty buffer for media has space for.
    pub(crate) send_buffer: usize,
    /// Given back when the connection is forgotten.
    pub(crate) permit: Permit,
    /// When the connection, once over, is forgotten, if not before by QUIC, which
    /// answers the peer's last packets for a time that the peer can draw out (RFC 9000
    /// section 10.2). After that a stateless reset does.
    pub(crate) forget_at: Option<Instant>,
    /// What may be sent while the peer has not proven its address.
    credit: Option<Credit>,
    presence: Presence,
    pub(crate) backlog: Backlog,
    pub(crate) bundle: Bundle,
    pub(crate) delivery: Delivery,
    /// When it last sent a frame that was forwarded.
    pub(crate) spoke: Option<Instant>,
    /// What QUIC said of a handshake that failed. The peer may have chosen the words.
    pub(crate) failure: Option<String>,
    /// Frames that the connection took.
    pub(crate) forwarded: u64,
    /// Packets made for it that carry frames.
    pub(crate) media_packets: u64,
    /// Frames of it and to it when it was last shown how it fares.
    media: u64,
    /// How it fares, while in a room.
    pub(crate) vitals: Option<Box<Vitals>>,
    pub(crate) feedback: Feedback,
    /// The peer's address as last told to whoever counts in the kernel.
    pub(crate) known_address: Option<SocketAddr>,
    /// Whether it is on the shard's list of connections to look at.
    pub(crate) is_touched: bool,
    control: Option<StreamId>,
    deframer: Deframer,
    outbox: Outbox,
    message_meter: Meter,
    moves: Meter,
    packet_meter: Meter,
    byte_meter: Meter,
    ping: PingState,
    notices: Notices,
}

#[derive(Debug, Default)]
struct PingState {
    number: u64,
    /// When the next one goes out, once in a room.
    next: Option<Instant>,
    /// When the one that is out must have been answered.
    deadline: Option<Instant>,
}

impl Session {
    /// Where its packets come from, as people write it.
    pub(crate) fn peer(&self) -> SocketAddr {
        peer::canonical(self.connection.remote_address())
    }

    /// A connection that begins with a packet of so many bytes; `None` if it has
    /// proven its address.
    pub(crate) fn new(
        id: SessionId,
        mut connection: Connection,
        permit: Permit,
        unproven: Option<usize>,
        now: Instant,
        limits: &Limits,
    ) -> Self {
        Self {
            id,
            send_buffer: connection.datagrams().send_buffer_space(),
            delivery: Delivery::new(&connection),
            connection,
            phase: Phase::Handshaking { deadline: now + limits.handshake_timeout },
            began: now,
            name: String::new(),
            grant: Grant::EVERYTHING,
            trace: None,
            asked_at: None,
            permit,
            forget_at: None,
            credit: unproven.map(Credit::new),
            presence: Presence::new(now, limits.idle_timeout),
            backlog: Backlog::default(),
            bundle: Bundle::default(),
            spoke: None,
            failure: None,
            forwarded: 0,
            media_packets: 0,
            media: 0,
            vitals: None,
            feedback: Feedback::default(),
            known_address: None,
            is_touched: false,
            control: None,
            deframer: Deframer::new(limits.message_bytes as usize),
            outbox: Outbox::new(limits.outbox_bytes),
            message_meter: Meter::new(limits.messages_per_second, MESSAGE_BURST),
            moves: Meter::new(1, MOVES_BURST),
            packet_meter: Meter::new(limits.packets_per_second, MEDIA_BURST),
            byte_meter: Meter::new(limits.bytes_per_second, MEDIA_BURST),
            ping: PingState::default(),
            notices: Notices::default(),
        }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The Hello that waits for a decision, if one does.
    pub(crate) fn take_hello(&mut self) -> Option<Hello> {
        match &mut self.phase {
            Phase::Authenticating { hello, .. } => Some(std::mem::take(&mut **hello)),
            _ => None,
        }
    }

    /// Whether nobody has decided about the token in time, so that the shard has to.
    pub(crate) fn decides_late(&mut self, now: Instant) -> bool {
        let Phase::Authenticating { deadline, decided, .. } = &mut self.phase else { return false };
        if *deadline > now {
            return false;
        }
        // If somebody has after all, that is in the mail.
        *deadline = now + IN_THE_MAIL;
        decided.claim()
    }

    /// Goes on to the next phase of its life, also in the shard's books.
    pub(crate) fn set_phase(&mut self, phase: Phase, states: &PerReason<SessionState>) {
        states[self.phase.state()].sub(1);
        self.phase = phase;
        states[self.phase.state()].add(1);
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    pub(crate) fn seat(&self) -> Option<Seat> {
        match self.phase {
            Phase::Joined(seat) => Some(seat),
            _ => None,
        }
    }

    /// A datagram came for the connection. Whether it was taken: a peer that says to
    /// have moved to another host too often is not believed.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        length: usize,
        event: ConnectionEvent,
    ) -> bool {
        let known = self.connection.remote_address();
        if known.ip() != remote.ip() {
            return self.receive_from_elsewhere(now, remote.ip(), event);
        }
        self.presence.hear(now);
        self.permit.hear(now);
        if let Some(credit) = &mut self.credit {
            credit.receive(length, remote == known);
        }
        self.connection.handle_event(event);
        true
    }

    fn receive_from_elsewhere(&mut self, now: Instant, ip: IpAddr, event: ConnectionEvent) -> bool {
        let mut moves = self.moves;
        if self.credit.is_some() || !moves.take(now, 1) {
            return false;
        }
        self.connection.handle_event(event);
        // Others can send what only looks like the peer's.
        if self.connection.remote_address().ip() == ip {
            self.moves = moves;
            self.presence.hear(now);
            self.permit.hear(now);
        }
        true
    }

    /// The handshake is done, by which the peer has proven its address.
    pub(crate) fn connected(&mut self) {
        self.credit = None;
    }

    /// Writes the connection's next packet that may be sent.
    pub(crate) fn write_packet(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        loop {
            let transmit = self.connection.poll_transmit(now, 1, buffer)?;
            match self.credit.as_mut().map(|credit| credit.spend(transmit.size)) {
                None | Some(Verdict::Sent) => return Some(transmit),
                Some(Verdict::Proven) => {
                    self.credit = None;
                    return Some(transmit);
                }
                Some(Verdict::Withheld) => buffer.clear(),
            }
        }
    }

    /// Whether the connection is over, and no more is kept of it.
    pub(crate) fn is_forgotten(&self, now: Instant) -> bool {
        self.has_ended() && self.forget_at.is_some_and(|at| at <= now)
    }

    /// Whether a member has been silent for so long that it is gone.
    pub(crate) fn is_gone(&mut self, now: Instant) -> bool {
        let is_due = self.seat().is_some() && self.presence.deadline() <= now;
        if is_due {
            self.presence.look(&self.connection);
        }
        is_due && self.presence.deadline() <= now
    }

    /// Whether a message of the client may be taken now. What comes before Welcome
    /// waits for it, in QUIC, whose flow control holds the client back.
    fn may_take_message(&self) -> bool {
        matches!(self.phase, Phase::AwaitingHello { .. } | Phase::Joined(_))
    }

    /// The next message of the client, if one is complete and it is its turn. No
    /// byte is read from the stream that is not of that message.
    ///
    /// # Errors
    /// The message, how fast they come, or the stream's end, ends the session.
    pub(crate) fn next_message(
        &mut self,
        now: Instant,
    ) -> Result<Option<client_message::Message>, Close> {
        if self.has_ended() {
            return Ok(None);
        }
        while self.may_take_message() {
            let Some(message) = self.deframer.decode::<ClientMessage>().map_err(refuse)? else {
                let missing = self.deframer.missing().map_err(refuse)?;
                if self.read_control(missing)? {
                    continue;
                }
                return Ok(None);
            };
            if !self.message_meter.take(now, 1) {
                let text = "control messages come faster than this relay's limit";
                return Err(Close::new(CloseCode::TooManyMessages, text));
            }
            if let Some(known) = message.checked().map_err(|error| refuse(error.into()))? {
                return Ok(Some(known));
            }
        }
        // Who gives the stream up is gone, whatever it waited for.
        self.read_control(0).map(|_| None)
    }

    /// Moves at most so many bytes of the control stream from the connection to
    /// where messages are cut out of them. Whether there were any.
    ///
    /// # Errors
    /// The client gave up the stream, which ends the session.
    fn read_control(&mut self, at_most: usize) -> Result<bool, Close> {
        if self.control.is_none() {
            self.control = self.connection.streams().accept(Dir::Bi);
        }
        let Some(stream) = self.control else { return Ok(false) };
        let left = || Err(Close::new(CloseCode::Done, "the control stream was closed"));
        let mut recv = self.connection.recv_stream(stream);
        let mut chunks = match recv.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => return left(),
        };
        let outcome = match chunks.next(at_most) {
            Ok(Some(chunk)) => {
                self.deframer.push(&chunk.bytes);
                Ok(!chunk.bytes.is_empty())
            }
            Err(ReadError::Blocked) => Ok(false),
            Ok(None) | Err(ReadError::Reset(_)) => left(),
        };
        // Window updates go out with the next packet either way.
        let _ = chunks.finalize();
        outcome
    }

    /// Queues a message for the client.
    ///
    /// # Errors
    /// The client does not read, which ends the session.
    pub(crate) fn tell(&mut self, message: relay_message::Message) -> Result<(), Close> {
        self.tell_encoded(framing::encode(&RelayMessage::from(message)))
    }

    /// The same for a message that many sessions get.
    ///
    /// # Errors
    /// The client does not read, which ends the session.
    pub(crate) fn tell_encoded(&mut self, message: Bytes) -> Result<(), Close> {
        self.outbox.push(message).map_err(|Overflow| {
            Close::new(CloseCode::Unresponsive, "the control stream was not read")
        })?;
        self.write_control();
        Ok(())
    }

    /// Writes what waits to the stream, as far as the client lets it.
    pub(crate) fn write_control(&mut self) {
        if let Some(stream) = self.control {
            self.outbox.write(&mut self.connection, stream);
        }
    }

    /// Whether a media datagram of that length may be forwarded now.
    ///
    /// # Errors
    /// The limit that forbids it.
    pub(crate) fn admit_media(
        &mut self,
        now: Instant,
        length: usize,
        limits: &Limits,
    ) -> Result<(), DropReason> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if length > limits.frame_bytes {
            return Err(DropReason::TooLong);
        }
        if !self.packet_meter.take(now, 1) {
            return Err(DropReason::PacketRate);
        }
        if !self.byte_meter.take(now, length) {
            return Err(DropReason::ByteRate);
        }
        Ok(())
    }

    /// Remembers to tell the client that a datagram of it was dropped.
    pub(crate) fn note_drop(&mut self, now: Instant, reason: DropReason) {
        self.notices.note_drop(now, reason);
    }

    /// The session is in a room from now on, which `handle` shows.
    pub(crate) fn enter(
        &mut self,
        now: Instant,
        seat: Seat,
        handle: SessionHandle,
        limits: &Limits,
        states: &PerReason<SessionState>,
    ) {
        self.set_phase(Phase::Joined(seat), states);
        self.vitals = Some(Box::new(Vitals::new(handle, now)));
        self.ping.next = Some(now + limits.ping_interval);
    }

    /// Shows how the session fares, if it is time. `sent_media`: in this turn.
    pub(crate) fn show_vitals_if_due(
        &mut self,
        now: Instant,
        sent_media: bool,
        distributions: &Distributions,
        stats: &ShardStats,
    ) {
        let Some(vitals) = self.vitals.as_ref().filter(|vitals| vitals.is_due(now)) else { return };
        let media = vitals.handle.count.frames_received.get() + self.forwarded;
        if media != self.media {
            self.media = media;
            self.permit.pass_media(now);
        }
        if sent_media {
            self.permit.ask(now, self.connection.rtt());
        }
        self.show_vitals(now, distributions, stats);
    }

    /// Shows how the session fares as of now.
    pub(crate) fn show_vitals(
        &mut self,
        now: Instant,
        distributions: &Distributions,
        stats: &ShardStats,
    ) {
        self.presence.look(&self.connection);
        let Some(vitals) = &mut self.vitals else { return };
        vitals.show_path(&self.connection.stats(), stats);
        // A path that is new, after a move, has none for its first round trip.
        let rtt = Some(self.connection.rtt()).filter(|rtt| *rtt != INITIAL_RTT);
        vitals.show(now, rtt, self.forwarded, distributions);
    }

    pub(crate) fn pong(&mut self, number: u64) {
        if number == self.ping.number {
            self.ping.deadline = None;
        }
    }

    /// Takes what the session reports of those it hears; what is to be passed on
    /// of it, by sender id. `talks`: whether a sender was forwarded lately.
    ///
    /// # Errors
    /// The client does not read, which ends the session.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        sources: &[SourceReport],
        talks: impl Fn(u16) -> bool,
        stats: &ShardStats,
    ) -> Result<Vec<(u16, Hearing)>, Close> {
        let Some(vitals) = &mut self.vitals else { return Ok(Vec::new()) };
        let known_ppm = vitals.downlink.update(
            now,
            Sent {
                forwarded: self.forwarded,
                evicted: self.backlog.evicted(),
                packets: self.media_packets,
                packets_lost: self.connection.stats().path.lost_packets,
            },
        );
        let digest = vitals.reports.take(now, sources, known_ppm, talks, |reason| {
            stats.reports_refused[reason].add(1);
            self.notices.note_refusal(now, reason);
        });
        vitals.report(&digest);
        if let Some(percent) = vitals.downlink.poor(now) {
            self.tell(relay_message::Message::Notice(notices::poor_reception(percent)))?;
        }
        Ok(digest.hearings)
    }

    /// When this session next has something to do.
    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        [self.connection.poll_timeout(), self.next_deadline()].into_iter().flatten().min()
    }

    /// The same, apart from QUIC: when to call [`Self::handle_deadlines`].
    fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Handshaking { deadline }
            | Phase::AwaitingHello { deadline }
            | Phase::Authenticating { deadline, .. }
            | Phase::Joining { deadline } => Some(deadline),
            Phase::Ended => self.forget_at,
            Phase::Joined(_) => {
                let (notice, feedback) = (self.notices.due(), self.feedback.due());
                let gone = Some(self.presence.deadline());
                [self.ping.next, self.ping.deadline, feedback, notice, self.grant.expires, gone]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The session is over because the client was late.
    pub(crate) fn handle_deadlines(
        &mut self,
        now: Instant,
        limits: &Limits,
        stats: &ShardStats,
    ) -> Result<(), Close> {
        match self.phase {
            // Not yet able to read a sentence; the shard counts it by itself.
            Phase::Handshaking { .. } | Phase::Ended => return Ok(()),
            // See `decides_late`.
            Phase::Authenticating { .. } => return Ok(()),
            Phase::AwaitingHello { deadline } if deadline <= now => {
                let text = format!("Hello did not come within {:?}", limits.hello_timeout);
                return Err(Close::new(CloseCode::HelloTimeout, text));
            }
            Phase::Joining { deadline } if deadline <= now => {
                let text = "the part of this relay that has the room did not answer; join again";
                return Err(Close::new(CloseCode::RelayFailed, text));
            }
            Phase::AwaitingHello { .. } | Phase::Joining { .. } => return Ok(()),
            Phase::Joined(_) => {}
        }
        if self.grant.expires.is_some_and(|expires| expires <= now) {
            let text = "the token's time is over; join again with a new one";
            return Err(Close::new(CloseCode::TokenExpired, text));
        }
        if self.ping.deadline.is_some_and(|deadline| deadline <= now) {
            let text = format!("Ping was not answered within {:?}", limits.ping_timeout);
            return Err(Close::new(CloseCode::Unresponsive, text));
        }
        if self.ping.next.is_some_and(|next| next <= now) {
            self.ping.next = Some(now + limits.ping_interval);
            if self.ping.deadline.is_none() {
                self.ping.deadline = Some(now + limits.ping_timeout);
                self.ping.number += 1;
                self.permit.ask(now, self.connection.rtt());
                self.tell(relay_message::Message::Ping(Ping { number: self.ping.number }))?;
            }
        }
        let summed_up =
            self.vitals.as_mut().and_then(|vitals| self.feedback.take(now, &mut vitals.loss));
        if let Some((feedback, exaggerated)) = summed_up {
            stats.reports_exaggerated.add(exaggerated);
            self.tell(relay_message::Message::SenderFeedback(feedback))?;
        }
        if let Some(notice) = self.notices.take(now) {
            self.tell(relay_message::Message::Notice(notice))?;
        }
        Ok(())
    }
}

/// The close that a broken message earns.
fn refuse(error: FramingError) -> Close {
    let code = match error {
        FramingError::TooLong { .. } => CloseCode::MessageTooLong,
        FramingError::Malformed(_) | FramingError::Invalid(_) => CloseCode::Malformed,
    };
    Close::new(code, error.to_string())
}
