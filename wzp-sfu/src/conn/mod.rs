//! One QUIC peer, whoever it is: its connection, its control stream, what waits to be sent
//! to it, and what it may cost. Knows nothing of participants and rooms.

pub(crate) mod backlog;
mod bundle;
mod control;
mod credit;
mod delivery;
pub(crate) mod meter;
mod outbox;
mod presence;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use quinn_proto::{Connection, ConnectionEvent, StreamId, Transmit};
use wzp_proto::close::CloseCode;
use wzp_proto::framing::Deframer;
use wzp_telemetry::trace::SpanContext;

use crate::admission::Permit;
use crate::ids::SessionId;
use crate::limits::Limits;
use crate::path::canonical;
use backlog::Backlog;
use bundle::Bundle;
use credit::{Credit, Verdict};
use delivery::Delivery;
pub use delivery::Standing;
use meter::Meter;
use outbox::Outbox;
use presence::Presence;

/// Burst of control messages, in time at the allowed rate.
const MESSAGE_BURST: Duration = Duration::from_secs(5);

/// Moves to another host that may come at once; then one a second. Each has the relay
/// send 1200 bytes there before it knows that the peer is (RFC 9000 section 8.2.1),
/// whoever's address it is. Another port of the same host is no such move.
const MOVES_BURST: Duration = Duration::from_secs(5);

/// An end that the relay wants: the code and a sentence for the peer.
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

/// One peer.
#[derive(Debug)]
pub(crate) struct Conn {
    /// What its session is called.
    pub(crate) id: SessionId,
    pub(crate) quic: Connection,
    /// When its first packet came.
    pub(crate) began: Instant,
    /// Its handshake's span, while traces are sent.
    pub(crate) trace: Option<SpanContext>,
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
    /// Frames that the connection took.
    pub(crate) forwarded: u64,
    /// Packets made for it that carry frames.
    pub(crate) media_packets: u64,
    /// What QUIC said of a handshake that failed. The peer may have chosen the words.
    pub(crate) failure: Option<String>,
    /// The peer's address as last told to whoever counts in the kernel.
    pub(crate) known_address: Option<SocketAddr>,
    /// Whether it is on the shard's list of connections to look at.
    pub(crate) is_touched: bool,
    control: Option<StreamId>,
    deframer: Deframer,
    outbox: Outbox,
    message_meter: Meter,
    moves: Meter,
}

impl Conn {
    /// A connection that begins with a packet of so many bytes; `None` if it has
    /// proven its address.
    pub(crate) fn new(
        id: SessionId,
        mut quic: Connection,
        permit: Permit,
        unproven: Option<usize>,
        now: Instant,
        limits: &Limits,
    ) -> Self {
        Self {
            id,
            send_buffer: quic.datagrams().send_buffer_space(),
            delivery: Delivery::new(&quic),
            quic,
            began: now,
            trace: None,
            permit,
            forget_at: None,
            credit: unproven.map(Credit::new),
            presence: Presence::new(now, limits.idle_timeout),
            backlog: Backlog::default(),
            bundle: Bundle::default(),
            forwarded: 0,
            media_packets: 0,
            failure: None,
            known_address: None,
            is_touched: false,
            control: None,
            deframer: Deframer::new(limits.message_bytes as usize),
            outbox: Outbox::new(limits.outbox_bytes),
            message_meter: Meter::new(limits.messages_per_second, MESSAGE_BURST),
            moves: Meter::new(1, MOVES_BURST),
        }
    }

    /// Where its packets come from, as people write it.
    pub(crate) fn peer(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }

    /// A datagram came for the connection. Whether it was taken: a peer that says to
    /// have moved to another host too often is not believed, nor before it `may_move`.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        length: usize,
        event: ConnectionEvent,
        may_move: bool,
    ) -> bool {
        let known = self.quic.remote_address();
        if known.ip() != remote.ip() {
            return may_move && self.receive_from_elsewhere(now, remote.ip(), event);
        }
        self.presence.hear(now);
        self.permit.hear(now);
        if let Some(credit) = &mut self.credit {
            credit.receive(length, remote == known);
        }
        self.quic.handle_event(event);
        true
    }

    fn receive_from_elsewhere(&mut self, now: Instant, ip: IpAddr, event: ConnectionEvent) -> bool {
        let mut moves = self.moves;
        if !moves.take(now, 1) {
            return false;
        }
        self.quic.handle_event(event);
        // Others can send what only looks like the peer's.
        if self.quic.remote_address().ip() == ip {
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
            let transmit = self.quic.poll_transmit(now, 1, buffer)?;
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

    /// Looks whether the peer itself was heard.
    pub(crate) fn look(&mut self) {
        self.presence.look(&self.quic);
    }

    /// When the peer is gone, if nothing was heard of it since the last look.
    pub(crate) fn gone_at(&self) -> Instant {
        self.presence.deadline()
    }

    /// Has the peer asked for a sign of life, by whatever was just written to it.
    pub(crate) fn ask(&mut self, now: Instant) {
        self.permit.ask(now, self.quic.rtt());
    }
}
