//! A shard that panicked begins again. What it knew of its connections is not
//! trusted any more, so each is ended: its client is told to join again, and the
//! places, counts and members that it stood for are given back.
//!
//! What stays are the counts, the limits, whether the shard takes anybody in, and the
//! directory: it is changed in one place, one room at a time, so that at most the
//! room that was being changed is lost.

use std::mem;
use std::time::{Duration, Instant};

use wzp_proto::close::CloseCode;
use wzp_telemetry::panics::attempt;

use super::event::Event;
use super::{Outgoing, Shard};
use crate::conn::Close;
use crate::count::reason::{EndReason, Reason, SessionState};
use crate::ids::{RoomId, ShardIndex};
use crate::mail::ControlMail;

/// What clients of the shard are told.
const SHARD_FAILED: &str = "the part of this relay that had your session failed and has begun \
                            again; join again";

/// The same where only the room was lost.
const ROOM_LOST: &str = "the part of this relay that had your room failed and has begun again; \
                         join again";

/// Clients whose packets cross the close with its sentence must not have a stateless
/// reset arrive right behind it. Those it does not reach are reset after that.
const CLOSES_ARRIVE: Duration = Duration::from_secs(1);

/// Packets that a connection may still send: its close, once for each of the three
/// kinds of packets there are during a handshake (RFC 9000 section 10.2.3).
const LAST_PACKETS: usize = 3;

impl Shard {
    /// Begins again after a panic in any other method. `seed` as in [`Self::new`].
    /// What there is to take, from before and of the failure, can be taken.
    pub fn begin_again(&mut self, seed: [u8; 32], now: Instant, out: &mut Outgoing) {
        self.now = now;
        // Of other rooms than the one that it was changing.
        self.post_home_mail();
        for number in 0..self.sessions.len() {
            self.salvage(number, out);
        }
        attempt(|| self.ignore_deferred());
        // Where that went wrong midway, nothing is left either.
        SessionState::ALL.iter().for_each(|state| self.stats.states[*state].set(0));
        let (stats, shared) = (self.stats.clone(), self.shared.clone());
        let mut next = Self::counting_in(stats, self.index, shared, seed, now);
        next.life = self.life;
        next.resets_from = now + CLOSES_ARRIVE;
        mem::swap(&mut next.directory, &mut self.directory);
        mem::swap(&mut next.outputs, &mut self.outputs);
        mem::swap(&mut next.lines, &mut self.lines);
        let failed = mem::replace(self, next);
        attempt(|| drop(failed));
        let (shard, room) = (self.index, self.directory.forget_half_changed());
        for to in 0..self.shared.shards {
            self.post(to, ControlMail::Failed { shard, room });
        }
    }

    /// Ends a connection, as far as that can be done: what a panic has left may well
    /// panic, too.
    fn salvage(&mut self, number: usize, out: &mut Outgoing) {
        attempt(|| {
            let close = Close::new(CloseCode::RelayFailed, SHARD_FAILED);
            self.end(number, EndReason::RelayFailed, Some(close));
        });
        let Some(mut session) = self.sessions[number].take() else { return };
        attempt(|| {
            for _ in 0..LAST_PACKETS {
                out.write(|buffer| session.conn.write_packet(self.now, buffer));
            }
        });
        attempt(|| {
            if let Some(vitals) = session.vitals.take() {
                self.shared.sessions.close(vitals.handle, self.now);
            }
        });
        if session.conn.known_address.is_some() {
            self.emit(Event::Forgotten { session: session.conn.id });
        }
        // With its permit.
        attempt(|| drop(session));
    }

    /// A shard failed, this one or another: its members are gone from the rooms whose
    /// home is here, and everyone from the room that it lost.
    pub(super) fn lose(&mut self, shard: ShardIndex, room: Option<RoomId>) {
        for (room, sender_id, session) in self.directory.members_on(shard) {
            self.at_home(|home, now, out| home.leave(now, room, sender_id, session, out));
        }
        for number in room.map_or_else(Vec::new, |room| self.rooms.connections(room)) {
            self.settle(number, Err(Close::new(CloseCode::RelayFailed, ROOM_LOST)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;
    use quinn_proto::crypto::rustls::QuicClientConfig;
    use quinn_proto::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, StdSystemTime};
    use wzp_proto::placement::PlacementKey;
    use wzp_telemetry::settings::RoomLabel;
    use wzp_transport::identity::Identity;
    use wzp_transport::trust::Trust;

    use super::*;
    use crate::admission::{Admission, Population};
    use crate::count::rooms::RoomCounts;
    use crate::count::sessions::SessionBook;
    use crate::limits::Limits;
    use crate::mail::{Mail, Packet, RoomMail};
    use crate::path::Path;
    use crate::session::{Phase, Seat};
    use crate::shard::Output;
    use crate::shard::Shared;

    /// A shard with as many connections on their way as there are ports.
    fn shard(now: Instant, ports: &[u16]) -> (Shard, Outgoing) {
        let (identity, _) = Identity::generate().unwrap();
        let limits = Limits::default();
        let shared = Shared {
            software: "test",
            shards: 1,
            placement: PlacementKey::new([0; 16]),
            server: Arc::new(ServerConfig::with_crypto(identity.quic_server_config().unwrap())),
            reset_key: identity.reset_key(),
            admission: Admission::new(&limits, now),
            rooms: Arc::new(RoomCounts::new(9, RoomLabel::Name, Duration::ZERO)),
            sessions: Arc::new(SessionBook::new(9, Duration::ZERO)),
            auth: Arc::default(),
            decisions: Arc::default(),
            hold: Duration::ZERO,
            start: now,
            clock: Arc::new(StdSystemTime),
            limits: Arc::new(limits),
        };
        let mut shard = Shard::new(0, shared, [7; 32], now);
        let mut out = Outgoing::default();
        for port in ports {
            let mut client = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
            let tls = QuicClientConfig::try_from(Trust::Insecure.client_config().unwrap());
            let config = ClientConfig::new(Arc::new(tls.unwrap()));
            let relay = ([192, 0, 2, 1], 4433).into();
            let (_, mut connection) = client.connect(now, config, relay, "relay").unwrap();
            let mut first = Vec::new();
            assert!(connection.poll_transmit(now, 1, &mut first).is_some());
            let data = BytesMut::from(&first[..]);
            let remote = ([10, 0, 0, 1], *port).into();
            shard.handle_packet(
                now,
                Packet { path: Path { remote, local: None }, ecn: None, data },
                &mut out,
            );
        }
        shard.flush(now, &mut out);
        out.clear();
        (shard, out)
    }

    /// The first of three connections is in a state in which ending it panics: the
    /// others are told, and what all three stood for is given back.
    #[test]
    fn a_connection_that_cannot_be_ended_costs_the_others_nothing() {
        let now = Instant::now();
        let (mut shard, mut out) = shard(now, &[1, 2, 3]);
        let nowhere = Seat { room: 77, room_id: RoomId { home: 0, number: 0 }, sender_id: 1 };
        let broken = shard.sessions[0].as_mut().unwrap();
        broken.set_phase(Phase::Joined(nowhere), &shard.stats.states);
        broken.conn.known_address = Some(([10, 0, 0, 1], 1).into());
        assert!(!attempt(|| shard.end(0, EndReason::Left, None)), "it can be ended");
        let [_, second, third] = [0, 1, 2]
            .map(|number| shard.sessions[number].as_ref().unwrap().conn.quic.remote_address());

        // Said of one room before the panic came in the next.
        shard
            .home_mail
            .push((1, RoomMail::SetMuted { room: nowhere.room_id, sender_id: 1, muted: true }));

        shard.begin_again([8; 32], now, &mut out);
        let outputs: Vec<_> = std::iter::from_fn(|| shard.poll_output()).collect();
        let said = |output: &Output| {
            matches!(output, Output::Mail(1, Mail::Room(RoomMail::SetMuted { .. })))
        };
        assert_eq!(outputs.iter().filter(|output| said(output)).count(), 1, "{outputs:?}");
        let told: Vec<_> = out.packets().iter().map(|packet| packet.path.remote).collect();
        assert!(told.contains(&second) && told.contains(&third), "{told:?}");
        let nobody =
            Population { sessions: 0, handshakes: 0, closing: 0, making_way: 0, prefixes: 0 };
        assert_eq!(shard.shared.admission.population(), nobody);
        assert!(shard.stats.states.iter().all(|(_, count)| count == 0), "{:?}", shard.stats.states);
        let closed: u64 = shard.stats.connections_closed.iter().map(|(_, count)| count).sum();
        assert_eq!(closed, shard.stats.connections_accepted.get());
        let events = outputs.iter().filter(|output| matches!(output, Output::Event(_)));
        let events: Vec<_> = events.collect();
        assert!(matches!(events[..], [Output::Event(Event::Forgotten { .. })]), "{events:?}");
        assert_eq!(shard.connections(), 0);
    }
}
