//! Clients, a relay and a path without loss between them, in virtual time.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use wzp_sfu::mail::Packet;
use wzp_sfu::path::Path;

use wzp_sim::client::{Client, Opening, Origin, hello};
use wzp_sim::memory::{Tally, during};

/// Members of a room. All talk.
pub(crate) const MEMBERS: usize = 5;

/// Voice in a frame.
const FRAME: Duration = Duration::from_millis(20);

/// From one room's first frame to the next one's.
const BETWEEN_ROOMS: Duration = Duration::from_micros(370);

/// One way.
const DELAY: Duration = Duration::from_millis(10);

/// What forwards.
pub(crate) trait Relay {
    /// Takes what has come, does what is due, and writes packets.
    fn turn(&mut self, now: Instant, arrived: &mut Vec<Packet>);

    /// When the next turn has something to do, whatever comes.
    fn next_timeout(&mut self) -> Option<Instant>;

    /// Shows the packets of the last turn.
    fn sent(&self, send: impl FnMut(SocketAddr, Option<EcnCodepoint>, &[u8]));
}

/// What has happened up to now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Books {
    /// What the relay's turns allocated.
    pub(crate) tally: Tally,
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    /// Frames heard by clients.
    pub(crate) frames_out: u64,
}

pub(crate) struct Network<R> {
    pub(crate) relay: R,
    clients: Vec<Client>,
    now: Instant,
    to_relay: VecDeque<InFlight>,
    to_clients: VecDeque<InFlight>,
    books: Books,
}

struct InFlight {
    at: Instant,
    client: usize,
    ecn: Option<EcnCodepoint>,
    bytes: Vec<u8>,
}

impl<R: Relay> Network<R> {
    /// Clients that begin to connect to `relay`.
    pub(crate) fn new(relay: R, rooms: usize, start: Instant) -> Self {
        let members = rooms * MEMBERS;
        let connect = |number| {
            let origin = Origin {
                number,
                address: address(number),
                relay: ([192, 0, 2, 1], 4433).into(),
                room: (number / MEMBERS) as u32,
                seed: number as u64 + 1,
                start,
            };
            Client::connect(origin, Opening::Hello(hello((number / MEMBERS) as u32, number)), start)
        };
        let mut network = Self {
            relay,
            clients: (0..members).map(connect).collect(),
            now: start,
            to_relay: VecDeque::new(),
            to_clients: VecDeque::new(),
            books: Books::default(),
        };
        (0..members).for_each(|client| network.drive(client));
        network
    }

    pub(crate) fn books(&self) -> Books {
        let heard = self.clients.iter().flat_map(|client| client.heard.values());
        Books { frames_out: heard.map(|heard| heard.sequences.len() as u64).sum(), ..self.books }
    }

    /// Every member sends a frame each 20 ms, `apart` after the one before it in
    /// its room; rooms begin one after the other.
    pub(crate) fn talk(&mut self, rounds: u32, apart: Duration) {
        let start = self.now;
        let offset =
            |number| apart * (number % MEMBERS) as u32 + BETWEEN_ROOMS * (number / MEMBERS) as u32;
        let mut order: Vec<_> = (0..self.clients.len()).collect();
        order.sort_by_key(|number| offset(*number));
        for round in 0..rounds {
            for number in order.iter().copied() {
                let at = start + FRAME * round + offset(number);
                self.run_until(at);
                let client = &mut self.clients[number];
                // Without a relay's Welcome any id will do.
                let sender_id = client.sender_id().unwrap_or(number as u16 + 1);
                let frame = client.frame(at, sender_id);
                client.sent += 1;
                client.send_raw(frame);
                self.drive(number);
            }
        }
        self.run_for(Duration::from_millis(200));
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let arrivals = [self.to_relay.front(), self.to_clients.front()];
            let arrivals = arrivals.into_iter().flatten().map(|packet| packet.at);
            let timeouts = self.clients.iter_mut().filter_map(Client::next_timeout);
            let next = arrivals.chain(timeouts).chain(self.relay.next_timeout()).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = next.max(self.now);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(packet) = self.to_clients.pop_front_if(|packet| packet.at <= now) {
            let InFlight { client, ecn, bytes, .. } = packet;
            let relay = ([192, 0, 2, 1], 4433).into();
            self.clients[client].handle_packet(now, relay, ecn, BytesMut::from(&bytes[..]));
            self.drive(client);
        }
        for number in 0..self.clients.len() {
            if self.clients[number].next_timeout().is_some_and(|at| at <= now) {
                self.clients[number].handle_timeout(now);
                self.drive(number);
            }
        }
        let mut arrived = Vec::new();
        while let Some(packet) = self.to_relay.pop_front_if(|packet| packet.at <= now) {
            let InFlight { client, ecn, bytes, .. } = packet;
            let data = BytesMut::from(&bytes[..]);
            arrived.push(Packet { path: Path { remote: address(client), local: None }, ecn, data });
        }
        let is_due = self.relay.next_timeout().is_some_and(|at| at <= now);
        if arrived.is_empty() && !is_due {
            return;
        }
        self.books.packets_in += arrived.len() as u64;
        during(&mut self.books.tally, || self.relay.turn(now, &mut arrived));
        self.relay.sent(|to, ecn, bytes| {
            let (at, client, bytes) = (now + DELAY, number(to), bytes.to_vec());
            self.to_clients.push_back(InFlight { at, client, ecn, bytes });
            self.books.packets_out += 1;
        });
    }

    /// Lets a client act and its packets leave.
    fn drive(&mut self, client: usize) {
        let at = self.now + DELAY;
        self.clients[client].drive(self.now, |transmit, bytes| {
            self.to_relay.push_back(InFlight { at, client, ecn: transmit.ecn, bytes });
        });
    }
}

fn address(client: usize) -> SocketAddr {
    ([10, 0, 0, client as u8], 5000).into()
}

fn number(address: SocketAddr) -> usize {
    match address.ip().to_canonical() {
        IpAddr::V4(host) => host.octets()[3].into(),
        IpAddr::V6(_) => 0,
    }
}
