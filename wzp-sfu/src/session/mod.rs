//! One participant's connection: where it is in its life, what it may do, and
//! what waits for it. Knows nothing of rooms' other members; the shard does.

pub mod admission;
pub(crate) mod backlog;
mod bundle;
mod control;
mod credit;
mod deadlines;
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

use quinn_proto::{Connection, ConnectionEvent, StreamId, Transmit};
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Hello, SourceReport, relay_message};
use wzp_proto::framing::Deframer;
use wzp_telemetry::trace::SpanContext;
use wzp_transport::parameters::INITIAL_RTT;

use crate::access::{Decided, Grant, Now};
use crate::count::distributions::Distributions;
use crate::count::reason::{DropReason, PerReason, SessionState};
use crate::count::sessions::SessionHandle;
use crate::count::stats::ShardStats;
use crate::ids::{RoomId, SessionId};
use crate::limits::Limits;
use crate::mail::Hearing;
use crate::room::local::RoomKey;
use crate::room::passed::Passed;
use admission::Permit;
use backlog::Backlog;
use bundle::Bundle;
use credit::{Credit, Verdict};
use deadlines::PingState;
use delivery::Delivery;
pub use delivery::Standing;
use downlink::Sent;
use feedback::Feedback;
use meter::Meter;
use notices::Notices;
use outbox::Outbox;
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
    /// When to look whether that is over.
    look: Option<Instant>,
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
            look: None,
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
        // Where it joins from is asked and written down, so it must be where it shook
        // hands: QUIC believes one packet with a forged source, and looks afterwards.
        if self.seat().is_none() || !moves.take(now, 1) {
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
        clocks: Now,
        seat: Seat,
        handle: SessionHandle,
        limits: &Limits,
        states: &PerReason<SessionState>,
    ) {
        self.set_phase(Phase::Joined(seat), states);
        let now = clocks.steady;
        self.vitals = Some(Box::new(Vitals::new(handle, now)));
        self.ping.next = Some(now + limits.ping_interval);
        self.look = self.grant.expires.and_then(|expires| expires.next_look(clocks));
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
        let not_taken = self.backlog.evicted() + self.backlog.waiting();
        vitals.downlink.look(now, self.forwarded + not_taken);
        // A path that is new, after a move, has none for its first round trip.
        let rtt = Some(self.connection.rtt()).filter(|rtt| *rtt != INITIAL_RTT);
        vitals.show(now, rtt, self.forwarded, distributions);
    }

    /// Takes what the session reports of those it hears; what is to be passed on
    /// of it, by sender id. `passed`: what of a sender it was sent, if that was
    /// forwarded lately.
    ///
    /// # Errors
    /// The client does not read, which ends the session.
    pub(crate) fn report<'a>(
        &mut self,
        now: Instant,
        sources: &[SourceReport],
        passed: impl Fn(u16) -> Option<&'a Passed>,
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
        let digest = vitals.reports.take(now, sources, known_ppm, passed, |reason| {
            stats.reports_refused[reason].add(1);
            self.notices.note_refusal(now, reason);
        });
        vitals.report(now, &digest);
        if let Some(percent) = vitals.downlink.poor(now) {
            self.tell(relay_message::Message::Notice(notices::poor_reception(percent)))?;
        }
        Ok(digest.hearings)
    }
}
