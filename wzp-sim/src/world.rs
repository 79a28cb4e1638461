//! A whole relay, its clients and the network between them in one thread and
//! in virtual time. Everything that happens follows from the seed.

mod ledger;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use quinn_proto::crypto::rustls::QuicServerConfig;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustls::pki_types::PrivateKeyDer;
use wzp_proto::placement::PlacementKey;
use wzp_sfu::access::{AuthRequest, Grant, Refusal};
use wzp_sfu::admission::Admission;
use wzp_sfu::conn::Standing;
use wzp_sfu::count::reason::AuthFailReason;
use wzp_sfu::count::rooms::RoomCounts;
use wzp_sfu::count::sessions::SessionBook;
use wzp_sfu::ids::SessionId;
use wzp_sfu::limits::Limits;
use wzp_sfu::mail::{ControlMail, Mail, Packet, RoomMail};
use wzp_sfu::path::Path;
use wzp_sfu::shard::event::Event;
use wzp_sfu::shard::{Outgoing, Output, Shard, Shared};
use wzp_telemetry::settings::RoomLabel;
use wzp_transport::parameters;

use crate::client::{Client, Opening, Origin};
use crate::memory::{Tally, during};
use crate::wall::{Standstill, Wall};

/// How the path between every client and the relay behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Share of packets lost, each way.
    pub loss: f64,
    /// Share of packets that come twice.
    pub duplication: f64,
    /// Least delay, each way.
    pub delay: Duration,
    /// Random delay on top: reorders when above the packets' distance.
    pub jitter: Duration,
    /// Share of packets that the kernel gives to the wrong shard.
    pub misrouting: f64,
}

/// Time between a shard's writing mail and its reader's reading it.
const MAIL_DELAY: Duration = Duration::from_micros(50);

/// `metrics.keep_ended`
pub const KEEP_ENDED: Duration = Duration::from_secs(120);

/// Packets arrive at multiples of this, so that shards see batches.
const TICK: Duration = Duration::from_micros(100);

/// What decides about tokens: when it answers, if ever, and what.
pub type Authenticator = fn(&AuthRequest, Instant) -> Option<(Duration, Result<Grant, Refusal>)>;

enum Occurrence {
    AtRelay { from: SocketAddr, ecn: Option<EcnCodepoint>, bytes: Vec<u8> },
    AtClient { to: SocketAddr, ecn: Option<EcnCodepoint>, bytes: Vec<u8> },
    Mail { to: usize, mail: Mail },
    Decision { request: AuthRequest, result: Result<Grant, Refusal> },
    WakeShard(usize),
    FailShard(usize),
    WakeClient(usize),
    Talk { client: usize, every: Duration },
}

/// What passed between the relay and one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bytes of UDP payload that came.
    pub came: u64,
    /// Bytes of UDP payload that went.
    pub went: u64,
    /// When something last came.
    pub last: Option<Instant>,
}

/// A relay with its shards, clients, and the network between them.
pub struct World {
    /// The time.
    pub now: Instant,
    /// When the relay started.
    pub start: Instant,
    /// What the network does to packets.
    pub conditions: Conditions,
    /// In the order in which they began to connect.
    pub clients: Vec<Client>,
    /// What the shards have in common.
    pub shared: Shared,
    /// The time of day.
    pub wall: Arc<Wall>,
    /// All chance comes from it.
    pub rng: ChaCha8Rng,
    relay: SocketAddr,
    shards: Vec<Shard>,
    /// Asked once [`Shared::auth`] says so.
    pub authenticator: Option<Authenticator>,
    /// What it decided in time.
    pub decisions: u64,
    /// Whether questions to rooms' homes on other shards get lost.
    pub loses_joins: bool,
    /// Who was not let in, as the audit log is told.
    pub refused: Vec<(SessionId, AuthFailReason)>,
    occurrences: BTreeMap<(Instant, u64), Occurrence>,
    next_number: u64,
    by_address: HashMap<SocketAddr, usize>,
    shard_wakes: Vec<Option<Instant>>,
    client_wakes: Vec<Option<Instant>>,
    next_port: u16,
    /// Clients whose packets are lost, all of them.
    pub cut_off: BTreeSet<usize>,
    /// What passed, by the client's address.
    pub traffic: HashMap<SocketAddr, Traffic>,
    /// What the shards asked of the allocator.
    pub memory: Tally,
    out: Outgoing,
    /// Flows that are open, as whoever counts in the kernel is told, with the
    /// peer's address.
    flows: BTreeMap<SessionId, SocketAddr>,
    /// How each receiver stood, with each packet to it.
    pub standings: HashMap<SocketAddr, Vec<Standing>>,
    /// What the relay last said of each session: counts that may only grow.
    counts: HashMap<SessionId, [u64; 4]>,
    /// Digest of every packet's time, direction and size: equal for equal runs.
    trace: DefaultHasher,
    /// Packets that the relay has sent.
    pub packets_sent: u64,
}

/// Ed25519, because its signatures have one length: packets of two runs with
/// the same seed are the same size.
static IDENTITY: LazyLock<Arc<QuicServerConfig>> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["relay".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    let mut tls = rustls::ServerConfig::builder_with_provider(wzp_transport::crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    tls.alpn_protocols = vec![wzp_proto::ALPN.to_vec()];
    Arc::new(tls.try_into().unwrap())
});

impl World {
    /// A relay without clients.
    pub fn new(seed: u64, shards: usize, limits: Limits, conditions: Conditions) -> Self {
        let now = Instant::now();
        let mut server = parameters::server(IDENTITY.clone(), limits.idle_timeout);
        server.time_source(Arc::new(Standstill));
        let (identity, _) = wzp_transport::identity::Identity::generate().unwrap();
        let wall = Arc::new(Wall::default());
        let shared = Shared {
            software: "wzp-sim",
            shards,
            placement: PlacementKey::new([7; 16]),
            server: Arc::new(server),
            reset_key: identity.reset_key(),
            admission: Admission::new(&limits, now),
            rooms: Arc::new(RoomCounts::new(10_000, RoomLabel::Name, KEEP_ENDED)),
            sessions: Arc::new(SessionBook::new(10_000, KEEP_ENDED)),
            auth: Arc::default(),
            decisions: Arc::default(),
            hold: Duration::from_micros(seed % 4 * 1000),
            start: now,
            clock: wall.clone(),
            limits: Arc::new(limits),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            now,
            start: now,
            conditions,
            clients: Vec::new(),
            relay: "192.0.2.1:4433".parse().unwrap(),
            shards: (0..shards).map(|i| Shard::new(i, shared.clone(), rng.random(), now)).collect(),
            shared,
            wall,
            authenticator: None,
            decisions: 0,
            loses_joins: false,
            refused: Vec::new(),
            rng,
            occurrences: BTreeMap::new(),
            next_number: 0,
            by_address: HashMap::new(),
            shard_wakes: vec![None; shards],
            client_wakes: Vec::new(),
            next_port: 1024,
            cut_off: BTreeSet::new(),
            traffic: HashMap::new(),
            memory: Tally::default(),
            out: Outgoing::default(),
            flows: BTreeMap::new(),
            standings: HashMap::new(),
            counts: HashMap::new(),
            trace: DefaultHasher::new(),
            packets_sent: 0,
        }
    }

    /// A client begins to connect.
    pub fn connect(&mut self, room: u32, opening: Opening) -> usize {
        let number = self.clients.len();
        self.connect_from([10, 0, (number >> 8) as u8, number as u8], room, opening)
    }

    /// The same from a given host.
    pub fn connect_from(&mut self, host: impl Into<IpAddr>, room: u32, opening: Opening) -> usize {
        let number = self.clients.len();
        let address = self.fresh_port(host.into(), number);
        let seed = self.rng.random();
        let origin = Origin { number, address, relay: self.relay, room, seed, start: self.start };
        self.clients.push(Client::connect(origin, opening, self.now));
        self.client_wakes.push(None);
        self.drive_client(number);
        number
    }

    /// A client sends a frame now and then every `every`.
    pub fn start_talking(&mut self, client: usize, every: Duration) {
        self.schedule(self.now, Occurrence::Talk { client, every });
    }

    /// A NAT between a client and the relay forgets: packets come from another
    /// port from now on, and answers to the old one are lost.
    pub fn rebind(&mut self, client: usize) {
        self.move_to(client, self.clients[client].address.ip());
    }

    /// A client goes on from another host's address, with another network.
    pub fn move_to(&mut self, client: usize, host: IpAddr) {
        self.by_address.remove(&self.clients[client].address);
        self.clients[client].address = self.fresh_port(host, client);
    }

    /// From now on nothing that the relay sends arrives at a client, or all again.
    pub fn deafen(&mut self, client: usize, deaf: bool) {
        let address = self.clients[client].address;
        match deaf {
            true => self.by_address.remove(&address),
            false => self.by_address.insert(address, client),
        };
    }

    fn fresh_port(&mut self, host: IpAddr, client: usize) -> SocketAddr {
        self.next_port += 1;
        let address = SocketAddr::new(host, self.next_port);
        self.by_address.insert(address, client);
        address
    }

    /// Bytes that come to the relay's port from anywhere.
    pub fn inject(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.schedule(self.now, Occurrence::AtRelay { from, ecn: None, bytes });
    }

    /// The relay takes nobody in any more, and ends what is left after so long.
    pub fn drain(&mut self, patience: Duration) {
        let deadline = self.now + patience;
        self.tell_shards(|| ControlMail::Drain { deadline });
    }

    /// A shard panics, between two packets or letters.
    pub fn fail_shard(&mut self, shard: usize) {
        self.schedule(self.now, Occurrence::FailShard(shard));
    }

    /// The shard that a client's session sits on.
    pub fn shard_of(&self, client: usize) -> Option<usize> {
        let name = format!("client {client}");
        let sessions = self.shared.sessions.list().into_iter();
        let mut participants = sessions.map(|reading| reading.participant);
        participants.find(|participant| participant.name == name).map(|found| found.shard)
    }

    /// Each shard gets that mail.
    pub fn tell_shards(&mut self, mail: impl Fn() -> ControlMail) {
        for to in 0..self.shards.len() {
            self.schedule(self.now, Occurrence::Mail { to, mail: mail().into() });
        }
    }

    /// Lets a client act and its packets leave.
    pub fn with_client<T>(
        &mut self,
        client: usize,
        act: impl FnOnce(&mut Client, Instant) -> T,
    ) -> T {
        let result = act(&mut self.clients[client], self.now);
        self.drive_client(client);
        result
    }

    /// Lets happen what happens in that time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.occurrences.first_key_value().map(|((at, _), _)| *at)
            && at <= end
        {
            self.go_on_to(at);
            self.turn();
            self.assert_states_agree();
        }
        self.go_on_to(end);
        self.assert_counts_grow();
    }

    fn go_on_to(&mut self, now: Instant) {
        self.wall.go_on(now.duration_since(self.now));
        self.now = now;
    }

    /// Runs until the condition holds; false if it does not within `patience`.
    pub fn run_until(&mut self, patience: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + patience;
        while self.now < end {
            if holds(self) {
                return true;
            }
            self.run_for(Duration::from_millis(10));
        }
        holds(self)
    }

    /// Everything that happens at this instant, then everyone's answer to it.
    fn turn(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        let mut memory = self.memory;
        let mut shards = BTreeSet::new();
        let mut clients = BTreeSet::new();
        while let Some(entry) = self.occurrences.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Occurrence::AtRelay { from, ecn, bytes } => {
                    let shard = self.steer(&bytes);
                    let traffic = self.traffic.entry(from).or_default();
                    traffic.came += bytes.len() as u64;
                    traffic.last = Some(self.now);
                    during(&mut memory, || {
                        let data = BytesMut::from(&bytes[..]);
                        let packet = Packet { path: Path { remote: from, local: None }, ecn, data };
                        self.shards[shard].handle_packet(self.now, packet, &mut out);
                    });
                    shards.insert(shard);
                }
                Occurrence::AtClient { to, ecn, bytes } => {
                    if let Some(client) = self.by_address.get(&to).copied() {
                        let data = BytesMut::from(&bytes[..]);
                        self.clients[client].handle_packet(self.now, self.relay, ecn, data);
                        clients.insert(client);
                    }
                }
                Occurrence::Mail { to, mail } => {
                    during(&mut memory, || {
                        self.shards[to].handle_mail(self.now, mail, &mut out);
                    });
                    shards.insert(to);
                }
                Occurrence::Decision { request, result } => {
                    let (to, after) = (request.shard, self.now + MAIL_DELAY);
                    if let Some(answer) = request.answer(result) {
                        self.decisions += 1;
                        let mail = ControlMail::Authenticated(Box::new(answer)).into();
                        self.schedule(after, Occurrence::Mail { to, mail });
                    }
                }
                Occurrence::WakeShard(shard) => {
                    self.shard_wakes[shard] = None;
                    during(&mut memory, || self.shards[shard].handle_timeouts(self.now));
                    shards.insert(shard);
                }
                Occurrence::FailShard(shard) => {
                    let seed = self.rng.random();
                    self.shards[shard].begin_again(seed, self.now, &mut out);
                    shards.insert(shard);
                }
                Occurrence::WakeClient(client) => {
                    self.client_wakes[client] = None;
                    self.clients[client].handle_timeout(self.now);
                    clients.insert(client);
                }
                Occurrence::Talk { client, every } => {
                    if self.clients[client].lost.is_none() && !self.clients[client].is_drained {
                        self.clients[client].talk(self.now);
                        self.schedule(self.now + every, Occurrence::Talk { client, every });
                        clients.insert(client);
                    }
                }
            }
        }
        for shard in shards {
            during(&mut memory, || self.shards[shard].flush(self.now, &mut out));
            self.spread(shard, &mut out);
        }
        self.memory = memory;
        self.out = out;
        for client in clients {
            self.drive_client(client);
        }
    }

    /// Passes on what a shard has to say at the end of its turn.
    fn spread(&mut self, index: usize, out: &mut Outgoing) {
        self.packets_sent += out.packets().len() as u64;
        for packet in out.packets() {
            let (to, ecn) = (packet.path.remote, packet.ecn);
            self.traffic.entry(to).or_default().went += packet.bytes.len() as u64;
            self.standings.entry(to).or_default().push(packet.standing);
            let client = self.by_address.get(&to).copied();
            self.transport(false, client, packet.bytes.len(), |_| Occurrence::AtClient {
                to,
                ecn,
                bytes: packet.bytes.clone(),
            });
        }
        out.clear();
        while let Some(output) = self.shards[index].poll_output() {
            match output {
                Output::Event(event) => self.watch(event),
                Output::Question(request) => {
                    let decide = self.authenticator.expect("nobody is asked who is not there");
                    if let Some((after, result)) = decide(&request, self.now) {
                        let decision = Occurrence::Decision { request, result };
                        self.schedule(self.now + after, decision);
                    }
                }
                Output::Mail(_, Mail::Room(RoomMail::Join(_))) if self.loses_joins => {}
                Output::Mail(to, mail) => {
                    self.schedule(self.now + MAIL_DELAY, Occurrence::Mail { to, mail });
                }
            }
        }
        if let Some(at) = self.shards[index].next_timeout()
            && self.shard_wakes[index].is_none_or(|set| at < set)
        {
            self.shard_wakes[index] = Some(at);
            self.schedule(at.max(self.now), Occurrence::WakeShard(index));
        }
    }

    /// Keeps the accounts that whoever counts in the kernel does.
    fn watch(&mut self, event: Event) {
        let in_order = match event {
            Event::Connected { session, peer } => self.flows.insert(session, peer).is_none(),
            Event::Joined { session, .. } => self.flows.contains_key(&session),
            Event::Moved { session, peer, .. } => {
                self.flows.insert(session, peer).is_some_and(|before| before != peer)
            }
            Event::Forgotten { session } => self.flows.remove(&session).is_some(),
            Event::Refused { session, reason, .. } => {
                self.refused.push((session, reason));
                true
            }
            Event::Ended { session, .. } | Event::Muted { session, .. } => {
                self.flows.contains_key(&session)
            }
            Event::TurnedAway { .. } => false,
        };
        assert!(in_order, "a session's events are out of order, or told to nobody's use");
    }

    fn drive_client(&mut self, number: usize) {
        let mut packets = Vec::new();
        let client = &mut self.clients[number];
        client.drive(self.now, |transmit, bytes| packets.push((transmit.ecn, bytes)));
        let from = client.address;
        if let Some(at) = client.next_timeout()
            && self.client_wakes[number].is_none_or(|set| at < set)
        {
            self.client_wakes[number] = Some(at);
            self.schedule(at.max(self.now), Occurrence::WakeClient(number));
        }
        if self.cut_off.contains(&number) {
            return;
        }
        for (ecn, bytes) in packets {
            self.transport(true, Some(number), bytes.len(), |_| Occurrence::AtRelay {
                from,
                ecn,
                bytes: bytes.clone(),
            });
        }
    }

    /// Passes a packet through the network: lost, late, twice, or as it should.
    fn transport(
        &mut self,
        to_relay: bool,
        client: Option<usize>,
        size: usize,
        arrive: impl Fn(&mut Self) -> Occurrence,
    ) {
        let since_start = self.now.duration_since(self.start);
        (since_start, to_relay, size).hash(&mut self.trace);
        let path_loss = client.and_then(|client| self.clients[client].path_loss);
        let loss = path_loss.map_or(self.conditions.loss, |[to, from]| match to_relay {
            true => to,
            false => from,
        });
        let copies = if self.rng.random_bool(loss) {
            0
        } else {
            1 + usize::from(self.rng.random_bool(self.conditions.duplication))
        };
        for _ in 0..copies {
            let delay = self.conditions.delay + self.conditions.jitter.mul_f64(self.rng.random());
            let exact = since_start + delay;
            let ticks = exact.as_nanos().div_ceil(TICK.as_nanos()) as u32;
            let occurrence = arrive(self);
            self.schedule(self.start + TICK * ticks, occurrence);
        }
    }

    /// What the kernel's filter does, and sometimes fails to do.
    fn steer(&mut self, packet: &[u8]) -> usize {
        let shards = self.shards.len();
        if self.rng.random_bool(self.conditions.misrouting) {
            return self.rng.random_range(0..shards);
        }
        let byte = match packet {
            [first, id, ..] if first & 0x80 == 0 => *id,
            [_, _, _, _, _, _, id, ..] => *id,
            _ => 0,
        };
        usize::from(byte) % shards
    }

    fn schedule(&mut self, at: Instant, occurrence: Occurrence) {
        self.next_number += 1;
        self.occurrences.insert((at, self.next_number), occurrence);
    }
}
