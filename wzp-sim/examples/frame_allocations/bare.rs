//! The floor: quinn-proto and what it cannot be driven without. Rooms are
//! filled in the order of connecting; there is no control stream, no check and no
//! count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint, EndpointConfig, Event,
    RandomConnectionIdGenerator, Transmit,
};
use wzp_sfu::mail::Packet;
use wzp_sfu::path::Path;
use wzp_sfu::shard::Shared;

use crate::network::{MEMBERS, Relay};

/// As the shard has it, so that both see the same turns.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

pub(crate) struct Bare {
    endpoint: Endpoint,
    peers: Vec<Peer>,
    packets: Vec<(SocketAddr, Option<EcnCodepoint>, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    start: Instant,
    hold: Duration,
}

struct Peer {
    connection: Connection,
    is_touched: bool,
    /// Frames that wait for company.
    frames: usize,
    due: Option<Instant>,
}

impl Bare {
    pub(crate) fn new(shared: &Shared) -> Self {
        let mut config = EndpointConfig::new(shared.reset_key.clone());
        config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(8)));
        let server = Some(shared.server.clone());
        Self {
            endpoint: Endpoint::new(Arc::new(config), server, false, None),
            peers: Vec::new(),
            packets: Vec::new(),
            spare: Vec::new(),
            start: shared.start,
            hold: shared.hold,
        }
    }

    fn write(
        spare: &mut Vec<Vec<u8>>,
        packets: &mut Vec<(SocketAddr, Option<EcnCodepoint>, Vec<u8>)>,
        write: impl FnOnce(&mut Vec<u8>) -> Option<Transmit>,
    ) -> bool {
        let mut bytes = spare.pop().unwrap_or_default();
        bytes.clear();
        match write(&mut bytes) {
            Some(Transmit { destination, ecn, size, .. }) => {
                bytes.truncate(size);
                packets.push((destination, ecn, bytes));
                true
            }
            None => {
                spare.push(bytes);
                false
            }
        }
    }

    fn receive(&mut self, now: Instant, packet: Packet) {
        let Self { endpoint, peers, packets, spare, .. } = self;
        let Packet { path: Path { remote, local }, ecn, data } = packet;
        Self::write(spare, packets, |buffer| {
            match endpoint.handle(now, remote, local, ecn, data, buffer)? {
                DatagramEvent::Response(transmit) => return Some(transmit),
                DatagramEvent::ConnectionEvent(ConnectionHandle(number), event) => {
                    peers[number].connection.handle_event(event);
                    peers[number].is_touched = true;
                }
                DatagramEvent::NewConnection(incoming) => {
                    match endpoint.accept(incoming, now, buffer, None) {
                        Ok((_, connection)) => {
                            let (frames, due) = (0, None);
                            peers.push(Peer { connection, is_touched: true, frames, due });
                        }
                        Err(error) => return error.response,
                    }
                }
            }
            None
        });
    }

    fn fan_out(&mut self, now: Instant, from: usize) {
        while let Some(event) = self.peers[from].connection.poll() {
            let Event::DatagramReceived = event else { continue };
            while let Some(frame) = self.peers[from].connection.datagrams().recv() {
                let first = from - from % MEMBERS;
                for number in (first..first + MEMBERS).filter(|number| *number != from) {
                    let to = &mut self.peers[number];
                    // A frame that is refused is missed at the end.
                    let _ = to.connection.datagrams().send(frame.clone(), false);
                    to.is_touched = true;
                    to.frames += 1;
                    let due = if to.frames >= MEMBERS - 1 { now } else { now + self.hold };
                    to.due = Some(to.due.map_or(due, |earlier| earlier.min(due)));
                }
            }
        }
    }

    fn transmit(&mut self, now: Instant, number: usize) {
        let Self { endpoint, peers, packets, spare, .. } = self;
        let Peer { connection, is_touched, frames, due } = &mut peers[number];
        (*is_touched, *frames, *due) = (false, 0, None);
        while Self::write(spare, packets, |buffer| connection.poll_transmit(now, 1, buffer)) {}
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = endpoint.handle_event(ConnectionHandle(number), event) {
                connection.handle_event(event);
                *is_touched = true;
            }
        }
    }
}

impl Relay for Bare {
    fn turn(&mut self, now: Instant, arrived: &mut Vec<Packet>) {
        self.spare.extend(self.packets.drain(..).map(|(_, _, bytes)| bytes));
        for packet in arrived.drain(..) {
            self.receive(now, packet);
        }
        for peer in &mut self.peers {
            if peer.connection.poll_timeout().is_some_and(|at| at <= now) {
                peer.connection.handle_timeout(now);
                peer.is_touched = true;
            }
        }
        let may_go = |peer: &Peer| peer.is_touched && peer.due.is_none_or(|due| due <= now);
        loop {
            for number in 0..self.peers.len() {
                if self.peers[number].is_touched {
                    self.fan_out(now, number);
                }
            }
            if !self.peers.iter().any(may_go) {
                return;
            }
            for number in 0..self.peers.len() {
                if may_go(&self.peers[number]) {
                    self.transmit(now, number);
                }
            }
        }
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        let due = self.peers.iter().filter_map(|peer| peer.due).min();
        let timeout =
            self.peers.iter_mut().filter_map(|peer| peer.connection.poll_timeout()).min().map(
                |at| {
                    let grain = TIMER_GRAIN.as_micros() as u64;
                    let since = at.saturating_duration_since(self.start).as_micros() as u64;
                    self.start + Duration::from_micros((since + 1).next_multiple_of(grain))
                },
            );
        [due, timeout].into_iter().flatten().min()
    }

    fn sent(&self, mut send: impl FnMut(SocketAddr, Option<EcnCodepoint>, &[u8])) {
        for (destination, ecn, bytes) in &self.packets {
            send(*destination, *ecn, bytes);
        }
    }
}
