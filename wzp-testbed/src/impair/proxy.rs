//! A UDP proxy that loses, delays, reorders and repeats packets as a seed says.
//!
//! What happens to the n-th packet of a flow in one direction depends on the
//! seed and on n alone. A proxy started inside a namespace stays in it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the proxy may take to notice that it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// Longest UDP payload there is.
const MAX_DATAGRAM: usize = 65_535;

/// What happens to the packets of one direction. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Two runs with the same seed treat the n-th packet alike.
    pub seed: u64,
    /// Share of packets that vanish, 0 to 1.
    pub loss: f64,
    /// Share of packets that are delivered twice, 0 to 1.
    pub duplicate: f64,
    /// Share of packets that overtake: they are not delayed at all, 0 to 1.
    pub overtake: f64,
    /// How long every packet takes at least.
    pub delay: Duration,
    /// Added to the delay, evenly distributed from nothing to this.
    pub jitter: Duration,
}

/// The random decisions of one direction of one flow.
#[derive(Debug)]
struct Dice {
    impairment: Impairment,
    state: u64,
}

impl Dice {
    fn new(impairment: Impairment, flow: u64) -> Self {
        Self { impairment, state: impairment.seed ^ flow.wrapping_mul(0xd134_2543_de82_ef95) }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014), as a number from 0 to below 1.
    fn roll(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[allow(clippy::cast_precision_loss)] // 53 bits fit.
        let mantissa = ((z ^ (z >> 31)) >> 11) as f64;
        mantissa / (1u64 << 53) as f64
    }

    /// When the copies of the next packet arrive; none if it is lost. Always
    /// rolls as often, so that one setting does not change another's outcome.
    fn fate(&mut self) -> impl Iterator<Item = Duration> + use<> {
        let [loss, duplicate, overtake, first, second] = std::array::from_fn(|_| self.roll());
        let Impairment { delay, jitter, .. } = self.impairment;
        let first = if overtake < self.impairment.overtake {
            Duration::ZERO
        } else {
            delay + jitter.mul_f64(first)
        };
        let again = (duplicate < self.impairment.duplicate).then(|| delay + jitter.mul_f64(second));
        let lost = loss < self.impairment.loss;
        [Some(first), again].into_iter().flatten().filter(move |_| !lost)
    }
}

/// A packet on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Instant,
    /// Keeps the order of packets that are due at the same time.
    number: u64,
    flow: usize,
    to_relay: bool,
    bytes: Vec<u8>,
}

/// One client's way through the proxy.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    /// Connected to the relay; a port of its own, as behind a router.
    upstream: UdpSocket,
    to_relay: Dice,
    to_client: Dice,
}

/// A running proxy. Stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Takes packets at `listen` and passes them to `relay` and back.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(
        listen: SocketAddr,
        relay: SocketAddr,
        to_relay: Impairment,
        to_clients: Impairment,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let path = Path {
            socket,
            relay,
            to_relay,
            to_clients,
            flows: Vec::new(),
            known: HashMap::new(),
            in_flight: BinaryHeap::new(),
            number: 0,
        };
        let thread = std::thread::spawn(move || path.run(&stopped));
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where clients find the relay.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Path {
    socket: UdpSocket,
    relay: SocketAddr,
    to_relay: Impairment,
    to_clients: Impairment,
    flows: Vec<Flow>,
    known: HashMap<SocketAddr, usize>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    number: u64,
}

impl Path {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            self.take_from_clients();
            self.take_from_relay();
            self.deliver(Instant::now());
        }
    }

    /// Until a packet comes or is due.
    fn wait(&self) {
        let now = Instant::now();
        let next = self.in_flight.peek().map(|Reverse(packet)| packet.due);
        let wait = next.map_or(STOP_INTERVAL, |due| due.saturating_duration_since(now));
        let timeout = Timespec::try_from(wait.min(STOP_INTERVAL)).ok();
        let sockets = self.flows.iter().map(|flow| &flow.upstream).chain([&self.socket]);
        let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        // Interrupted or not: what is there is taken, and the loop comes back.
        let _ = poll(&mut polled, timeout.as_ref());
    }

    fn take_from_clients(&mut self) {
        let mut buffer = [0; MAX_DATAGRAM];
        // Errors are those of single packets, such as "port unreachable".
        while let Ok((length, client)) = self.socket.recv_from(&mut buffer) {
            let flow = match self.known.get(&client) {
                Some(flow) => *flow,
                None => match self.open(client) {
                    Ok(flow) => flow,
                    Err(_) => continue,
                },
            };
            let delays = self.flows[flow].to_relay.fate();
            self.send_later(flow, true, &buffer[..length], delays);
        }
    }

    fn take_from_relay(&mut self) {
        let mut buffer = [0; MAX_DATAGRAM];
        for flow in 0..self.flows.len() {
            while let Ok(length) = self.flows[flow].upstream.recv(&mut buffer) {
                let delays = self.flows[flow].to_client.fate();
                self.send_later(flow, false, &buffer[..length], delays);
            }
        }
    }

    fn open(&mut self, client: SocketAddr) -> io::Result<usize> {
        let any: SocketAddr = match self.relay {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0; 16], 0).into(),
        };
        let upstream = UdpSocket::bind(any)?;
        upstream.connect(self.relay)?;
        upstream.set_nonblocking(true)?;
        let number = self.flows.len();
        let flow = number as u64;
        self.flows.push(Flow {
            client,
            upstream,
            to_relay: Dice::new(self.to_relay, 2 * flow),
            to_client: Dice::new(self.to_clients, 2 * flow + 1),
        });
        self.known.insert(client, number);
        Ok(number)
    }

    fn send_later(
        &mut self,
        flow: usize,
        to_relay: bool,
        bytes: &[u8],
        delays: impl Iterator<Item = Duration>,
    ) {
        let now = Instant::now();
        for delay in delays {
            self.number += 1;
            let (due, number) = (now + delay, self.number);
            let packet = InFlight { due, number, flow, to_relay, bytes: bytes.to_vec() };
            self.in_flight.push(Reverse(packet));
        }
    }

    fn deliver(&mut self, now: Instant) {
        while self.in_flight.peek().is_some_and(|Reverse(packet)| packet.due <= now) {
            let Some(Reverse(packet)) = self.in_flight.pop() else { break };
            let flow = &self.flows[packet.flow];
            // A packet that cannot be sent is a lost packet.
            let _ = if packet.to_relay {
                flow.upstream.send(&packet.bytes)
            } else {
                self.socket.send_to(&packet.bytes, flow.client)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: std::net::Ipv4Addr = std::net::Ipv4Addr::LOCALHOST;

    fn fates(impairment: Impairment, flow: u64, packets: usize) -> Vec<Vec<Duration>> {
        let mut dice = Dice::new(impairment, flow);
        (0..packets).map(|_| dice.fate().collect()).collect()
    }

    #[test]
    fn shares_are_as_asked_and_repeatable() {
        let impairment = Impairment {
            seed: 7,
            loss: 0.05,
            duplicate: 0.02,
            overtake: 0.1,
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(10),
        };
        let outcome = fates(impairment, 0, 10_000);
        assert_eq!(outcome, fates(impairment, 0, 10_000));
        assert_ne!(outcome, fates(impairment, 1, 10_000));
        let count =
            |wanted: fn(&Vec<Duration>) -> bool| outcome.iter().filter(|f| wanted(f)).count();
        assert!((400..600).contains(&count(|copies| copies.is_empty())));
        assert!((130..260).contains(&count(|copies| copies.len() == 2)));
        assert!((850..1050).contains(&count(|copies| copies.first() == Some(&Duration::ZERO))));
        let longest = outcome.iter().flatten().max().unwrap();
        assert!((39..=40).contains(&longest.as_millis()), "{longest:?}");
    }

    #[test]
    fn packets_pass_both_ways_and_the_lost_are_the_same_each_time() {
        let lossy = Impairment { seed: 3, loss: 0.5, ..Impairment::default() };
        let expected: Vec<u8> = (0..)
            .zip(fates(lossy, 0, 100))
            .filter(|(_, f)| !f.is_empty())
            .map(|(n, _)| n)
            .collect();
        for _ in 0..2 {
            let relay = UdpSocket::bind((LOOPBACK, 0)).unwrap();
            let client = UdpSocket::bind((LOOPBACK, 0)).unwrap();
            for socket in [&relay, &client] {
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            }
            let clean = Impairment::default();
            let proxy =
                Proxy::start((LOOPBACK, 0).into(), relay.local_addr().unwrap(), lossy, clean)
                    .unwrap();
            for number in 0..100 {
                client.send_to(&[number], proxy.address()).unwrap();
            }
            let mut buffer = [0; 8];
            let received: Vec<u8> = expected
                .iter()
                .map(|_| {
                    let (_, from) = relay.recv_from(&mut buffer).unwrap();
                    relay.send_to(&buffer[..1], from).unwrap();
                    client.recv(&mut buffer).unwrap();
                    buffer[0]
                })
                .collect();
            assert_eq!(received, expected);
        }
    }
}
