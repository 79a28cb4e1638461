//! One participant's connection: where it is in its life, what it may do, and
//! what waits for it. Knows nothing of rooms' other members; the shard does.

pub mod admission;
pub(crate) mod backlog;
mod bundle;
mod delivery;
pub mod feedback;
mod loss;
mod meter;
mod outbox;
mod vitals;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, ReadableError, StreamId};
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    ClientMessage, Hello, Notice, Ping, RelayMessage, SourceReport, client_message, notice,
    relay_message,
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
use delivery::Delivery;
use feedback::{Feedback, Hearing};
use meter::Meter;
use outbox::{Outbox, Overflow};
use vitals::Vitals;

/// Burst of media that may come at once: one second's worth, what a client
/// sends when its network was stuck for so long.
const MEDIA_BURST: Duration = Duration::from_secs(1);

/// Burst of control messages, in time at the allowed rate.
const MESSAGE_BURST: Duration = Duration::from_secs(5);

/// How long mail may take that was about to be written.
const IN_THE_MAIL: Duration = Duration::from_secs(1);

/// A client hears at most one Notice in this time.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

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
    Joining,
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
            Self::Joining => SessionState::Joining,
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
    /// Given back when QUIC forgets the connection.
    pub(crate) permit: Permit,
    pub(crate) backlog: Backlog,
    pub(crate) bundle: Bundle,
    pub(crate) delivery: Delivery,
    /// When it last sent a frame that was forwarded.
    pub(crate) spoke: Option<Instant>,
    /// What QUIC said of a handshake that failed. The peer may have chosen the words.
    pub(crate) failure: Option<String>,
    /// Frames that the connection took.
    pub(crate) forwarded: u64,
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
    packet_meter: Meter,
    byte_meter: Meter,
    ping: PingState,
    notices: Notices,
    /// What this session last reported of each sender.
    heard: HashMap<u16, SourceReport>,
}

#[derive(Debug, Default)]
struct PingState {
    number: u64,
    /// When the next one goes out, once in a room.
    next: Option<Instant>,
    /// When the one that is out must have been answered.
    deadline: Option<Instant>,
}

/// Datagrams dropped since the last Notice.
#[derive(Debug, Default)]
struct Notices {
    pending: Option<PendingNotice>,
    last: Option<Instant>,
}

#[derive(Debug)]
struct PendingNotice {
    code: notice::Code,
    dropped: u64,
    due: Instant,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        mut connection: Connection,
        permit: Permit,
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
            backlog: Backlog::default(),
            bundle: Bundle::default(),
            spoke: None,
            failure: None,
            forwarded: 0,
            vitals: None,
            feedback: Feedback::default(),
            known_address: None,
            is_touched: false,
            control: None,
            deframer: Deframer::new(limits.message_bytes as usize),
            outbox: Outbox::new(limits.outbox_bytes),
            message_meter: Meter::new(limits.messages_per_second, MESSAGE_BURST),
            packet_meter: Meter::new(limits.packets_per_second, MEDIA_BURST),
            byte_meter: Meter::new(limits.bytes_per_second, MEDIA_BURST),
            ping: PingState::default(),
            notices: Notices::default(),
            heard: HashMap::new(),
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

    /// Moves bytes of the control stream from the connection to where messages
    /// are cut out of them.
    ///
    /// # Errors
    /// The client gave up the stream, which ends the session.
    pub(crate) fn read_control(&mut self) -> Result<(), Close> {
        if self.control.is_none() {
            self.control = self.connection.streams().accept(Dir::Bi);
        }
        let Some(stream) = self.control else { return Ok(()) };
        let left = || Err(Close::new(CloseCode::Done, "the control stream was closed"));
        let mut recv = self.connection.recv_stream(stream);
        let mut chunks = match recv.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => return left(),
        };
        let outcome = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => self.deframer.push(&chunk.bytes),
                Err(ReadError::Blocked) => break Ok(()),
                Ok(None) | Err(ReadError::Reset(_)) => break left(),
            }
        };
        // Window updates go out with the next packet either way.
        let _ = chunks.finalize();
        outcome
    }

    /// The next message of the client, if one is complete and it is its turn.
    ///
    /// # Errors
    /// The message, or how fast they come, ends the session.
    pub(crate) fn next_message(
        &mut self,
        now: Instant,
    ) -> Result<Option<client_message::Message>, Close> {
        // What comes before Welcome waits for it.
        while matches!(self.phase, Phase::AwaitingHello { .. } | Phase::Joined(_)) {
            let Some(message) = self.deframer.decode::<ClientMessage>().map_err(refuse)? else {
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
        Ok(None)
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
        let code = match reason {
            DropReason::PacketRate | DropReason::ByteRate => notice::Code::RateLimited,
            DropReason::TooLong => notice::Code::FrameTooLong,
            DropReason::MayNotPublish => notice::Code::MayNotPublish,
            _ => notice::Code::InvalidMedia,
        };
        let due = self.notices.last.map_or(now, |last| now.max(last + NOTICE_INTERVAL));
        let pending = self.notices.pending.get_or_insert(PendingNotice { code, dropped: 0, due });
        pending.code = code;
        pending.dropped += 1;
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

    /// Shows how the session fares, if it is time.
    pub(crate) fn show_vitals_if_due(
        &mut self,
        now: Instant,
        distributions: &Distributions,
        stats: &ShardStats,
    ) {
        if self.vitals.as_ref().is_some_and(|vitals| vitals.is_due(now)) {
            self.show_vitals(now, distributions, stats);
        }
    }

    /// Shows how the session fares as of now.
    pub(crate) fn show_vitals(
        &mut self,
        now: Instant,
        distributions: &Distributions,
        stats: &ShardStats,
    ) {
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

    /// Changes between this session's last report and `sources`, which become
    /// the last; sorted by sender id, without those of whom nothing was due.
    pub(crate) fn report(&mut self, sources: Vec<SourceReport>) -> Vec<(u16, Hearing)> {
        let mut hearings = Vec::with_capacity(sources.len());
        let mut heard = HashMap::with_capacity(sources.len());
        for source in sources {
            let Some(sender) = wzp_proto::control::sender_id(source.sender_id) else { continue };
            let before = self.heard.get(&sender).copied().unwrap_or_default();
            hearings.extend(Hearing::between(&before, &source).map(|hearing| (sender, hearing)));
            heard.insert(sender, source);
        }
        self.heard = heard;
        hearings.sort_unstable_by_key(|(sender, _)| *sender);
        hearings
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
            | Phase::Authenticating { deadline, .. } => Some(deadline),
            Phase::Joining | Phase::Ended => None,
            Phase::Joined(_) => {
                let notice = self.notices.pending.as_ref().map(|pending| pending.due);
                let feedback = self.feedback.due();
                [self.ping.next, self.ping.deadline, feedback, notice, self.grant.expires]
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
    pub(crate) fn handle_deadlines(&mut self, now: Instant, limits: &Limits) -> Result<(), Close> {
        match self.phase {
            // Not yet able to read a sentence; the shard counts it by itself.
            Phase::Handshaking { .. } | Phase::Joining | Phase::Ended => return Ok(()),
            // See `decides_late`.
            Phase::Authenticating { .. } => return Ok(()),
            Phase::AwaitingHello { deadline } if deadline <= now => {
                let text = format!("Hello did not come within {:?}", limits.hello_timeout);
                return Err(Close::new(CloseCode::HelloTimeout, text));
            }
            Phase::AwaitingHello { .. } => return Ok(()),
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
                self.tell(relay_message::Message::Ping(Ping { number: self.ping.number }))?;
            }
        }
        if let Some(feedback) = self.feedback.take(now) {
            self.tell(relay_message::Message::SenderFeedback(feedback))?;
        }
        if let Some(notice) = self.notices.take(now) {
            self.tell(relay_message::Message::Notice(notice))?;
        }
        Ok(())
    }
}

impl Notices {
    fn take(&mut self, now: Instant) -> Option<Notice> {
        let PendingNotice { code, dropped, .. } =
            self.pending.take_if(|pending| pending.due <= now)?;
        self.last = Some(now);
        let text = match code {
            notice::Code::RateLimited => "media above this relay's rate limits was dropped",
            notice::Code::FrameTooLong => {
                "media datagrams longer than this relay's limit were dropped"
            }
            notice::Code::MayNotPublish => {
                "media was dropped because your token does not let you publish"
            }
            _ => "datagrams that are not media under the sender id given in Welcome were dropped",
        };
        Some(Notice { code: code.into(), text: text.to_owned(), dropped })
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
