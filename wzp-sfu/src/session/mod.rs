//! One participant: where it is in its life, what it may do, and how it fares. Knows nothing of rooms' other members; the shard does.

mod deadlines;
mod downlink;
pub mod feedback;
mod loss;
mod notices;
mod reports;
mod vitals;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quinn_proto::ConnectionEvent;
use wzp_proto::control::{Hello, SourceReport, client_message, relay_message};
use wzp_transport::parameters::INITIAL_RTT;

use crate::access::{Decided, Grant, Now};
use crate::conn::meter::Meter;
use crate::conn::{Close, Conn};
use crate::count::distributions::Distributions;
use crate::count::reason::{DropReason, PerReason, SessionState};
use crate::count::sessions::SessionHandle;
use crate::count::stats::ShardStats;
use crate::ids::RoomId;
use crate::limits::Limits;
use crate::mail::Hearing;
use crate::room::local::RoomKey;
use crate::room::passed::Passed;
use deadlines::PingState;
use downlink::Sent;
use feedback::Feedback;
use notices::Notices;
use vitals::Vitals;

/// Burst of media that may come at once: one second's worth, what a client
/// sends when its network was stuck for so long.
const MEDIA_BURST: Duration = Duration::from_secs(1);

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

/// One participant.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: Conn,
    phase: Phase,
    /// How others in the room call it, once it has asked to join.
    pub(crate) name: String,
    /// What it may do in a room.
    pub(crate) grant: Grant,
    /// When to look whether that is over.
    look: Option<Instant>,
    /// When its Hello came.
    pub(crate) asked_at: Option<Instant>,
    /// When it last sent a frame that was forwarded.
    pub(crate) spoke: Option<Instant>,
    /// Frames of it and to it when it was last shown how it fares.
    media: u64,
    /// How it fares, while in a room.
    pub(crate) vitals: Option<Box<Vitals>>,
    pub(crate) feedback: Feedback,
    packet_meter: Meter,
    byte_meter: Meter,
    ping: PingState,
    notices: Notices,
}

impl Session {
    /// What a connection becomes for whom its handshake is the first thing.
    pub(crate) fn new(conn: Conn, now: Instant, limits: &Limits) -> Self {
        Self {
            conn,
            phase: Phase::Handshaking { deadline: now + limits.handshake_timeout },
            name: String::new(),
            grant: Grant::EVERYTHING,
            look: None,
            asked_at: None,
            spoke: None,
            media: 0,
            vitals: None,
            feedback: Feedback::default(),
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

    /// A datagram came for the connection. Whether it was taken.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        length: usize,
        event: ConnectionEvent,
    ) -> bool {
        // Where it joins from is asked and written down, so it must be where it shook
        // hands: QUIC believes one packet with a forged source, and looks afterwards.
        let may_move = self.seat().is_some();
        self.conn.receive(now, remote, length, event, may_move)
    }

    /// The client's next message, if one is complete and it is its turn: what comes before
    /// Welcome waits for it.
    ///
    /// # Errors
    /// The message, how fast they come, or the stream's end, ends the session.
    pub(crate) fn next_message(
        &mut self,
        now: Instant,
    ) -> Result<Option<client_message::Message>, Close> {
        match self.phase {
            Phase::Ended => Ok(None),
            Phase::AwaitingHello { .. } | Phase::Joined(_) => self.conn.next_message(now, true),
            _ => self.conn.next_message(now, false),
        }
    }

    /// Whether the connection is over, and no more is kept of it.
    pub(crate) fn is_forgotten(&self, now: Instant) -> bool {
        self.has_ended() && self.conn.forget_at.is_some_and(|at| at <= now)
    }

    /// Whether a member has been silent for so long that it is gone.
    pub(crate) fn is_gone(&mut self, now: Instant) -> bool {
        let is_due = self.seat().is_some() && self.conn.gone_at() <= now;
        if is_due {
            self.conn.look();
        }
        is_due && self.conn.gone_at() <= now
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
        let media = vitals.handle.count.frames_received.get() + self.conn.forwarded;
        if media != self.media {
            self.media = media;
            self.conn.permit.pass_media(now);
        }
        if sent_media {
            self.conn.ask(now);
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
        self.conn.look();
        let Some(vitals) = &mut self.vitals else { return };
        vitals.show_path(&self.conn.quic.stats(), stats);
        let not_taken = self.conn.backlog.evicted() + self.conn.backlog.waiting();
        vitals.downlink.look(now, self.conn.forwarded + not_taken);
        // A path that is new, after a move, has none for its first round trip.
        let rtt = Some(self.conn.quic.rtt()).filter(|rtt| *rtt != INITIAL_RTT);
        vitals.show(now, rtt, self.conn.forwarded, distributions);
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
                forwarded: self.conn.forwarded,
                evicted: self.conn.backlog.evicted(),
                packets: self.conn.media_packets,
                packets_lost: self.conn.quic.stats().path.lost_packets,
            },
        );
        let digest = vitals.reports.take(now, sources, known_ppm, passed, |reason| {
            stats.reports_refused[reason].add(1);
            self.notices.note_refusal(now, reason);
        });
        vitals.report(now, &digest);
        if let Some(percent) = vitals.downlink.poor(now) {
            self.conn.tell(relay_message::Message::Notice(notices::poor_reception(percent)))?;
        }
        Ok(digest.hearings)
    }
}
