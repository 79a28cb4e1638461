//! First packets: whether a connection may begin, and how it does.

use quinn_proto::{Connection, ConnectionHandle, Incoming};
use rand::Rng;

use super::event::Event;
use super::{Outgoing, Shard};
use crate::admission::{Arrival, Newcomer, Permit};
use crate::conn::Conn;
use crate::count::reason::{RefuseReason, SessionState};
use crate::ids::SessionId;
use crate::path::canonical;
use crate::session::Session;

impl Shard {
    /// Decides whether a new connection may begin, whose first packet has so many
    /// bytes. `may_wait`: or decides later.
    pub(super) fn accept(
        &mut self,
        incoming: Incoming,
        length: usize,
        may_wait: bool,
        out: &mut Outgoing,
    ) {
        let remote = canonical(incoming.remote_address());
        let is_proven = incoming.remote_address_validated();
        let unproven = (!is_proven).then_some(length);
        let id = SessionId(self.rng.next_u64());
        let (shard, ip) = (self.index, remote.ip());
        let newcomer = Newcomer { session: id, shard, ip, is_proven, may_wait };
        let permit = match self.shared.admission.arrive(newcomer, self.now) {
            Arrival::Enter(permit, displaced) => {
                self.displace(displaced);
                permit
            }
            // Only a client that has answered a Retry may get none, and that has proven
            // its address.
            Arrival::Prove => {
                self.stats.retries_sent.add(1);
                out.write(|buffer| self.endpoint.retry(incoming, buffer).ok());
                return;
            }
            Arrival::Defer(asked) => return self.defer(incoming, length, asked),
            Arrival::Refuse(reason) => {
                self.emit(Event::TurnedAway { peer: remote, reason, error: None });
                out.write(|buffer| Some(self.endpoint.refuse(incoming, buffer)));
                return;
            }
        };
        let mut accepted = Err(String::new());
        out.write(|buffer| match self.endpoint.accept(incoming, self.now, buffer, None) {
            Ok(connection) => {
                accepted = Ok(connection);
                None
            }
            Err(error) => {
                accepted = Err(error.cause.to_string());
                error.response
            }
        });
        match accepted {
            Ok((ConnectionHandle(number), connection)) => {
                self.begin(number, id, connection, permit, unproven);
            }
            Err(error) => {
                let (reason, error) = (RefuseReason::Invalid, Some(error));
                self.emit(Event::TurnedAway { peer: remote, reason, error });
            }
        }
    }

    fn begin(
        &mut self,
        number: usize,
        id: SessionId,
        connection: Connection,
        permit: Permit,
        unproven: Option<usize>,
    ) {
        self.stats.connections_accepted.add(1);
        self.stats.states[SessionState::Handshaking].add(1);
        let limits = &self.shared.limits;
        let conn = Conn::new(id, connection, permit, unproven, self.now, limits);
        let session = Session::new(conn, self.now, limits);
        if self.sessions.len() <= number {
            self.sessions.resize_with(number + 1, || None);
        }
        self.sessions[number] = Some(Box::new(session));
        self.by_id.insert(id, number);
        self.touch(number);
    }
}
