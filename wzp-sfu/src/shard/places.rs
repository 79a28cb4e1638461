//! Places that are taken from one connection and given to another, as admission
//! says.

use std::time::{Duration, Instant};

use quinn_proto::Incoming;
use wzp_proto::close::CloseCode;

use super::{Outgoing, Shard};
use crate::admission::{Displaced, PATIENCE, Seated};
use crate::conn::Close;
use crate::ids::SessionId;
use crate::mail::{Cause, ControlMail};

/// Most first packets that wait on a shard until it is known whether there is a place;
/// who comes after that is told at once. Each takes about 2 KiB, and what the client
/// sends meanwhile as much as `wzp_transport::parameters` lets it.
pub(super) const MOST_DEFERRED: usize = 512;

/// Of those, so many are decided about in one turn: each may be a TLS handshake.
const DECIDED_PER_TURN: usize = 16;

/// How long a connection that made way answers its peer's last packets. It counts for
/// nobody any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// A first packet that waits.
pub(super) struct Deferred {
    pub(super) until: Instant,
    incoming: Incoming,
    length: usize,
}

impl Shard {
    /// Has a first packet wait until sessions that have been asked have had time to
    /// answer.
    pub(super) fn defer(&mut self, incoming: Incoming, length: usize, asked: Vec<Seated>) {
        for Seated { session, shard } in asked {
            self.post(shard, ControlMail::Probe(session));
        }
        self.deferred.push_back(Deferred { until: self.now + PATIENCE, incoming, length });
    }

    /// Decides about first packets that have waited long enough.
    pub(super) fn admit_deferred(&mut self, out: &mut Outgoing) {
        for _ in 0..DECIDED_PER_TURN {
            let due = self.deferred.pop_front_if(|first| first.until <= self.now);
            let Some(Deferred { incoming, length, .. }) = due else { return };
            self.accept(incoming, length, false, out);
        }
    }

    /// Forgets the first packets that wait.
    pub(super) fn ignore_deferred(&mut self) {
        for Deferred { incoming, .. } in self.deferred.drain(..) {
            self.endpoint.ignore(incoming);
        }
    }

    /// Has connections end on whatever shard they are.
    pub(super) fn displace(&mut self, displaced: impl IntoIterator<Item = Displaced>) {
        for Displaced { who: Seated { session, shard }, cause } in displaced {
            self.post(shard, ControlMail::MakeWay { session, cause });
        }
    }

    /// A connection here has to go.
    pub(super) fn make_way(&mut self, session: SessionId, cause: Cause) {
        let Some(number) = self.by_id.get(&session).copied() else { return };
        let Some(session) = &mut self.sessions[number] else { return };
        session.conn.forget_at = Some(self.now + FAREWELL);
        let (code, text) = match (cause, session.seat()) {
            (Cause::Replaced, _) => (
                CloseCode::Replaced,
                "nothing was heard of this session, and its address or user needed its place",
            ),
            (Cause::Preempted, Some(_)) => (
                CloseCode::Preempted,
                "this relay is full; this session, in which nobody had talked for long, made \
                 way for a network with fewer",
            ),
            (Cause::Preempted, None) => (
                CloseCode::Preempted,
                "too many are on their way into this relay; this connection made way for a \
                 network with fewer",
            ),
        };
        self.settle(number, Err(Close::new(code, text)));
    }

    /// A session here is asked for a sign of life.
    pub(super) fn probe(&mut self, session: SessionId) {
        let Some(number) = self.by_id.get(&session).copied() else { return };
        if let Some(session) = &mut self.sessions[number] {
            session.conn.quic.ping();
            self.touch(number);
        }
    }
}
