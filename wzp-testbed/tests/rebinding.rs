//! Clients whose port changes in mid-call, with a relay of three shards: no
//! packet comes to a wrong shard, and no frame is lost on its way through the
//! relay.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod frame;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use frame::frame;
use quinn::Endpoint;
use tokio::sync::Barrier;
use tokio::time::{Instant, interval, timeout, timeout_at};
use wzp_proto::control::{Hello, Role};
use wzp_proto::media::{MediaHeader, Profile};
use wzp_testbed::metrics::Scrape;
use wzp_testbed::netns::{Family, Host, Network};
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::skip;
use wzp_transport::fingerprint::Fingerprint;
use wzp_transport::join::{Joined, client_config, connect, enter, leave};
use wzp_transport::trust::Trust;

const LIMIT: Duration = Duration::from_secs(60);

const ROOMS: usize = 4;
/// Members of each room whose port changes, and as many whose port does not.
const HALF: usize = 2;
/// Frames that each sends, and after how many the port changes.
const FRAMES: u32 = 200;
const FRAMES_BETWEEN_MOVES: u32 = 30;
/// Frames of one sender that can be on their way when a port changes: 60 ms,
/// many round trips on this network.
const MOST_IN_FLIGHT: u32 = 3;
/// Ports of the members of a host, whose namespace has no other user of them:
/// a port that the kernel chose could be one that another member has left.
const FIRST_PORT: u16 = 20_000;
const PORTS_OF_ONE: u16 = 100;

/// What all clients know.
struct Call {
    relay: SocketAddr,
    pin: Fingerprint,
    /// Nobody talks before all are there, nor leaves before all have heard.
    barrier: Barrier,
}

/// What a client heard.
struct Account {
    sender_id: u16,
    room: usize,
    /// Sequence numbers, by sender.
    heard: BTreeMap<u16, BTreeSet<u32>>,
    /// The last that were heard before each change of the port, by sender.
    moves: Vec<BTreeMap<u16, u32>>,
}

impl Call {
    async fn take_part(&self, own: SocketAddr, room: usize, moves_at: Option<u32>) -> Account {
        let (joined, mut account) = self.join(own, room).await;
        timeout(LIMIT, self.barrier.wait()).await.unwrap();
        let mut ports = vec![own.port()];
        let mut clock = interval(Duration::from_millis(Profile::Good.frame_ms().into()));
        let mut sent = 0;
        let deadline = Instant::now() + LIMIT;
        while sent < FRAMES || !account.has_heard_the_last() {
            tokio::select! {
                _ = clock.tick(), if sent < FRAMES => {
                    if moves_at == Some(sent % FRAMES_BETWEEN_MOVES) {
                        let next = own.port() + ports.len() as u16;
                        let socket = UdpSocket::bind((own.ip(), next)).unwrap();
                        ports.push(next);
                        account.moves.push(account.last_heard());
                        joined.endpoint.rebind(socket).unwrap();
                    }
                    joined.connection.send_datagram(frame(account.sender_id, sent, 92).into()).unwrap();
                    sent += 1;
                }
                datagram = timeout_at(deadline, joined.connection.read_datagram()) => {
                    let datagram = datagram.expect("the others' last frames").unwrap();
                    let (header, _) = MediaHeader::decode(&datagram).unwrap();
                    account.heard.entry(header.sender_id).or_default().insert(header.sequence);
                }
            }
        }
        timeout(LIMIT, self.barrier.wait()).await.unwrap();
        // The relay answers to the last port: else the ones before would be
        // open still.
        let bound = bound_ports();
        let (last, left) = ports.split_last().unwrap();
        assert!(bound.contains(last) && left.iter().all(|port| !bound.contains(port)), "{ports:?}");
        leave(&joined.endpoint, &joined.connection).await;
        account
    }

    async fn join(&self, own: SocketAddr, room: usize) -> (Joined, Account) {
        let endpoint = Endpoint::client(own).unwrap();
        let config = client_config(Trust::Pinned(self.pin)).unwrap();
        let connection = connect(&endpoint, config, self.relay, "relay").await.unwrap();
        let name = format!("room {room}");
        let hello = Hello { role: Role::Participant.into(), room: name, ..Hello::default() };
        let joined = enter(endpoint, connection, hello).await.unwrap();
        let sender_id = joined.welcome.sender_id as u16;
        (joined, Account { sender_id, room, heard: BTreeMap::new(), moves: Vec::new() })
    }
}

impl Account {
    fn last_heard(&self) -> BTreeMap<u16, u32> {
        self.heard.iter().filter_map(|(id, frames)| Some((*id, *frames.last()?))).collect()
    }

    fn has_heard_the_last(&self) -> bool {
        let last = self.last_heard();
        last.len() == 2 * HALF - 1 && last.values().all(|sequence| *sequence == FRAMES - 1)
    }

    /// Frames from `sender` that are missing, without and with the few that
    /// would have come next when the port changed: a packet that is on its way
    /// to the old port then may find it closed.
    fn missed(&self, sender: u16) -> (usize, usize) {
        let heard = &self.heard[&sender];
        let excused: BTreeSet<u32> = self
            .moves
            .iter()
            .flat_map(|last| {
                let next = last.get(&sender).map_or(0, |sequence| sequence + 1);
                let in_flight = next..FRAMES.min(next + MOST_IN_FLIGHT);
                in_flight.take_while(|sequence| !heard.contains(sequence))
            })
            .collect();
        let missed = FRAMES as usize - heard.len();
        (missed - excused.len(), missed)
    }
}

/// UDP ports of this thread's network namespace.
fn bound_ports() -> BTreeSet<u16> {
    let tables = ["udp", "udp6"].map(|table| format!("/proc/thread-self/net/{table}"));
    let text: String = tables.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let local = text.lines().filter_map(|line| line.split_whitespace().nth(1)?.rsplit_once(':'));
    local.filter_map(|(_, port)| u16::from_str_radix(port, 16).ok()).collect()
}

/// Runs half of each room's members on this host.
fn take_part(call: &Arc<Call>, host: &Host, family: Family, moving: bool) -> Vec<Account> {
    let own = host.address(family);
    let members = async {
        let mut members = Vec::new();
        for number in 0..ROOMS * HALF {
            let call = call.clone();
            // Not all at once.
            let moves_at = moving.then_some(10 + 2 * number as u32);
            let own = (own, FIRST_PORT + PORTS_OF_ONE * number as u16).into();
            members.push(tokio::spawn(async move {
                call.take_part(own, number % ROOMS, moves_at).await
            }));
        }
        let mut accounts = Vec::new();
        for member in members {
            accounts.push(member.await.unwrap());
        }
        accounts
    };
    host.namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(members)
    })
}

fn ports_change_in_mid_call(test: &str, family: Family, ebpf: &str, steered_by: &str) {
    if !skip::have_namespaces(test) {
        return;
    }
    let network = Network::new(&["relay", "movers", "peers"]).unwrap();
    let [relay_host, movers, peers] = network.hosts() else { panic!("three hosts") };
    let folder = temporary_state().unwrap();
    let listen = (relay_host.address(family), 0).into();
    let launch = Launch {
        arguments: ["--shards", "3", "--ebpf", ebpf].map(Into::into).into(),
        ..Launch::on(&relay_host.namespace, listen, folder.path())
    };
    let relay = Relay::start(&launch).unwrap();
    let call = Arc::new(Call {
        relay: relay.listen(),
        pin: relay.fingerprint().parse().unwrap(),
        barrier: Barrier::new(2 * HALF * ROOMS),
    });
    let (moved, stayed) = std::thread::scope(|scope| {
        let moved = scope.spawn(|| take_part(&call, movers, family, true));
        let stayed = scope.spawn(|| take_part(&call, peers, family, false));
        (moved.join().unwrap(), stayed.join().unwrap())
    });

    let all: Vec<_> = moved.iter().chain(&stayed).collect();
    let (mut moves, mut in_flight) = (0, 0);
    for listener in &all {
        moves += listener.moves.len();
        let others = |account: &&&Account| {
            account.room == listener.room && account.sender_id != listener.sender_id
        };
        for talker in all.iter().filter(others) {
            let (missed, with_those_in_flight) = listener.missed(talker.sender_id);
            let pair = format!("{} at {}", talker.sender_id, listener.sender_id);
            // At those who stay, that is none at all.
            assert_eq!(missed, 0, "{pair}");
            in_flight += with_those_in_flight;
        }
    }
    println!("{moves} changes of ports, {in_flight} frames found an old one closed");
    assert!(moves >= ROOMS * HALF * 5, "{moves}");

    let scrape = relay.scrape().unwrap();
    let members = all.len() as u64;
    let sent = members * u64::from(FRAMES);
    for (name, expected) in [
        ("wzp_relay_misrouted_packets_total", 0),
        ("wzp_relay_media_packets_received_total", sent),
        ("wzp_relay_media_packets_forwarded_total", sent * (2 * HALF as u64 - 1)),
        ("wzp_relay_packets_dropped_total", 0),
        ("wzp_relay_udp_send_errors_total", 0),
        ("wzp_relay_sessions_joined_total", members),
    ] {
        assert_eq!(value(&scrape, name, &[]), expected, "{name}");
    }
    assert_eq!(value(&scrape, "wzp_relay_steering", &[("by", steered_by)]), 1);
    relay.stop().unwrap();
}

fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> u64 {
    scrape.sum(name, labels).unwrap() as u64
}

#[test]
fn ports_change_under_the_program() {
    ports_change_in_mid_call("ports_change_under_the_program", Family::V4, "auto", "ebpf");
}

#[test]
fn ports_change_under_the_program_over_ipv6() {
    let test = "ports_change_under_the_program_over_ipv6";
    ports_change_in_mid_call(test, Family::V6, "auto", "ebpf");
}

#[test]
fn ports_change_under_the_filter() {
    ports_change_in_mid_call("ports_change_under_the_filter", Family::V4, "off", "classic");
}
