//! A participant in the simulation: a real quinn-proto client that speaks the
//! control protocol and keeps account of all it hears.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, ConnectionId,
    ConnectionIdGenerator, DatagramEvent, Dir, EcnCodepoint, Endpoint, EndpointConfig, Event,
    StreamId, Transmit, VarInt,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    ClientMessage, Hello, Member, Notice, Pong, ReceiverReport, RelayMessage, Role, RoomChanged,
    SenderFeedback, SourceReport, Welcome, client_message, relay_message,
};
use wzp_proto::framing::{Deframer, MAX_MESSAGE_BYTES, encode};
use wzp_proto::media::{AudioLevel, HEADER_LEN, MediaHeader, Profile};
use wzp_proto::settling::Settling;
use wzp_transport::parameters;
use wzp_transport::trust::Trust;

/// How much of a client is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Reads and answers everything.
    Full,
    /// Its QUIC acknowledges, its program reads nothing.
    TransportOnly,
    /// Nothing is processed, as if stopped by a debugger.
    None,
}

/// What the client says first.
#[derive(Clone, Debug)]
pub enum Opening {
    /// This message.
    Hello(Hello),
    /// Bytes on the control stream, whatever they are.
    Raw(Bytes),
    /// Nothing at all.
    Silence,
}

/// Who sent a frame, when, and to which room: the payload of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    client: u32,
    sequence: u32,
    room: u32,
    sent_us: u64,
}

impl Stamp {
    fn encode(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.client.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.room.to_be_bytes());
        bytes[12..].copy_from_slice(&self.sent_us.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let sent_us = u64::from_be_bytes(bytes[12..20].try_into().unwrap());
        Self { client: word(0), sequence: word(4), room: word(8), sent_us }
    }
}

/// What one client heard of another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The number that the relay gave the sender.
    pub sender_id: u16,
    /// Sequence numbers of the frames that came.
    pub sequences: BTreeSet<u32>,
    /// How long each was under way, in microseconds.
    pub latencies_us: Vec<u64>,
    settling: Option<Settling>,
}

/// Where a client comes from and goes to.
pub struct Origin {
    /// The position in [`World::clients`](crate::world::World::clients).
    pub number: usize,
    /// The address that its packets have.
    pub address: SocketAddr,
    /// The address that it sends to.
    pub relay: SocketAddr,
    /// The room that its frames say they are for.
    pub room: u32,
    /// What its own random numbers come from.
    pub seed: u64,
    /// When the simulation began.
    pub start: Instant,
}

/// A participant: its QUIC connection, and what it was told and heard.
pub struct Client {
    /// The position in [`World::clients`](crate::world::World::clients).
    pub number: usize,
    /// Changes when a NAT in between rebinds.
    pub address: SocketAddr,
    /// The room that its frames say they are for.
    pub room: u32,
    /// How much of what comes it takes.
    pub attention: Attention,
    /// The relay's answer to Hello.
    pub welcome: Option<Welcome>,
    /// When that came.
    pub joined_at: Option<Instant>,
    /// The room's members as the relay told it, without this client.
    pub members: BTreeMap<u32, String>,
    /// Those of them that are shown as muted, and this client if it is.
    pub muted: BTreeSet<u32>,
    /// Members that Welcome announced and that were not listed yet.
    unlisted: u32,
    /// Messages that told of members.
    pub lists: u32,
    /// The version of the room that it knows.
    pub room_version: u64,
    /// Frames that it has made.
    pub sent: u32,
    /// Every so many frames the last one is lost on its way to the relay.
    pub loses_every: Option<u32>,
    /// Share of packets lost on its way to the relay, and from there, where it is not the
    /// world's.
    pub path_loss: Option<[f64; 2]>,
    /// Frames that waited too long in this client's own send buffer.
    pub blocked: u32,
    /// By the sender's position in the world.
    pub heard: BTreeMap<usize, Heard>,
    /// Whether its reports say up to which frame they go.
    pub says_which: bool,
    /// What it was told of how others hear it.
    pub feedback: Vec<SenderFeedback>,
    /// What it was told for people.
    pub notices: Vec<Notice>,
    /// Whether the relay has said that it drains.
    pub told_to_leave: bool,
    /// Why the connection is over, if it is.
    pub lost: Option<ConnectionError>,
    opening: Opening,
    start: Instant,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    control: Option<StreamId>,
    /// Bytes of the control stream that QUIC took.
    pub written: usize,
    deframer: Deframer,
    /// Whether QUIC has forgotten the connection.
    pub is_drained: bool,
}

/// Random ids from the simulation's seed: the first byte picks the shard.
struct SeededCids(ChaCha8Rng);

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<[u8; 8]>())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// What a well-behaved client says first.
pub fn hello(room: u32, number: usize) -> Hello {
    Hello {
        role: Role::Participant.into(),
        room: format!("room {room}"),
        name: format!("client {number}"),
        ..Hello::default()
    }
}

impl Client {
    /// Begins to connect at `now`.
    pub fn connect(origin: Origin, opening: Opening, now: Instant) -> Self {
        let Origin { number, address, relay, room, seed, start } = origin;
        let mut config = EndpointConfig::new(Arc::new(NoResets));
        config.cid_generator(move || Box::new(SeededCids(ChaCha8Rng::seed_from_u64(seed))));
        let mut endpoint_seed = [0; 32];
        endpoint_seed[..8].copy_from_slice(&seed.to_be_bytes());
        config.rng_seed(Some(endpoint_seed));
        let mut endpoint = Endpoint::new(Arc::new(config), None, false, None);

        let tls = Trust::Insecure.client_config().unwrap();
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        client.transport_config(Arc::new(parameters::client()));
        client.initial_dst_cid_provider(Arc::new(move || {
            SeededCids(ChaCha8Rng::seed_from_u64(!seed)).generate_cid()
        }));
        let (handle, connection) = endpoint.connect(now, client, relay, "relay").unwrap();
        Self {
            number,
            address,
            room,
            attention: Attention::Full,
            welcome: None,
            joined_at: None,
            members: BTreeMap::new(),
            muted: BTreeSet::new(),
            unlisted: 0,
            lists: 0,
            room_version: 0,
            sent: 0,
            loses_every: None,
            path_loss: None,
            blocked: 0,
            heard: BTreeMap::new(),
            says_which: true,
            feedback: Vec::new(),
            notices: Vec::new(),
            told_to_leave: false,
            lost: None,
            opening,
            start,
            endpoint,
            handle,
            connection,
            control: None,
            written: 0,
            deframer: Deframer::new(MAX_MESSAGE_BYTES),
            is_drained: false,
        }
    }

    /// The number that the relay gave it.
    pub fn sender_id(&self) -> Option<u16> {
        self.welcome.as_ref().map(|welcome| welcome.sender_id as u16)
    }

    /// The code that the relay closed with.
    pub fn close_code(&self) -> Option<CloseCode> {
        match &self.lost {
            Some(ConnectionError::ApplicationClosed(close)) => {
                CloseCode::from_wire(close.error_code.into_inner())
            }
            _ => None,
        }
    }

    /// The sentence that the relay closed with.
    pub fn close_text(&self) -> String {
        match &self.lost {
            Some(ConnectionError::ApplicationClosed(close)) => {
                String::from_utf8(close.reason.to_vec()).unwrap()
            }
            other => format!("{other:?}"),
        }
    }

    /// A packet came from the network.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ecn: Option<EcnCodepoint>,
        data: BytesMut,
    ) {
        if self.attention == Attention::None {
            return;
        }
        let mut answer = Vec::new();
        if let Some(DatagramEvent::ConnectionEvent(_, event)) =
            self.endpoint.handle(now, from, None, ecn, data, &mut answer)
        {
            self.connection.handle_event(event);
        }
    }

    /// The time of [`Self::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.attention != Attention::None
            && self.connection.poll_timeout().is_some_and(|at| at <= now)
        {
            self.connection.handle_timeout(now);
        }
    }

    /// When QUIC wants to be called again.
    pub fn next_timeout(&mut self) -> Option<Instant> {
        self.connection
            .poll_timeout()
            .filter(|_| self.attention != Attention::None && !self.is_drained)
    }

    /// Reads, answers, and writes packets until there is nothing left to do.
    pub fn drive(&mut self, now: Instant, mut send: impl FnMut(Transmit, Vec<u8>)) {
        if self.attention == Attention::None {
            return;
        }
        loop {
            while let Some(event) = self.connection.poll() {
                self.handle_event(now, event);
            }
            let mut idle = true;
            loop {
                let mut bytes = Vec::new();
                let Some(transmit) = self.connection.poll_transmit(now, 1, &mut bytes) else {
                    break;
                };
                send(transmit, bytes);
                idle = false;
            }
            while let Some(event) = self.connection.poll_endpoint_events() {
                idle = false;
                self.is_drained |= event.is_drained();
                if let Some(answer) = self.endpoint.handle_event(self.handle, event) {
                    self.connection.handle_event(answer);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.open(),
            Event::ConnectionLost { reason } => self.lost = Some(reason),
            _ if self.attention == Attention::TransportOnly => {}
            Event::DatagramReceived => {
                while let Some(frame) = self.connection.datagrams().recv() {
                    self.hear(now, &frame);
                }
            }
            Event::Stream(_) => self.read_control(now),
            Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
        }
    }

    fn open(&mut self) {
        let bytes = match &self.opening {
            Opening::Silence => return,
            Opening::Raw(bytes) => bytes.clone(),
            Opening::Hello(hello) => {
                encode(&ClientMessage::from(client_message::Message::Hello(hello.clone())))
            }
        };
        self.control = self.connection.streams().open(Dir::Bi);
        // The relay may have closed right behind its last handshake packet.
        if self.control.is_some() {
            self.write(&bytes);
        }
    }

    /// Whether the control stream can be written to.
    pub fn is_open(&self) -> bool {
        self.control.is_some() && self.lost.is_none()
    }

    /// Puts bytes on the control stream.
    pub fn write(&mut self, bytes: &[u8]) {
        let stream = self.control.expect("the control stream is open");
        // A hostile client may write more than the relay lets it.
        self.written += self.connection.send_stream(stream).write(bytes).unwrap_or(0);
    }

    /// Sends a message on the control stream.
    pub fn say(&mut self, message: client_message::Message) {
        self.write(&encode(&ClientMessage::from(message)));
    }

    fn read_control(&mut self, now: Instant) {
        let Some(stream) = self.control else { return };
        let mut recv = self.connection.recv_stream(stream);
        let Ok(mut chunks) = recv.read(true) else { return };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.deframer.push(&chunk.bytes);
        }
        let _ = chunks.finalize();
        while let Some(message) = self.deframer.decode::<RelayMessage>().unwrap() {
            self.obey(now, message.message.expect("the relay sends what the schema knows"));
        }
    }

    fn obey(&mut self, now: Instant, message: relay_message::Message) {
        use relay_message::Message;
        match message {
            Message::Welcome(welcome) => {
                assert!(self.welcome.is_none(), "welcomed twice");
                self.room_version = welcome.room_version;
                self.unlisted = welcome.member_count;
                if matches!(&self.opening, Opening::Hello(hello) if hello.muted) {
                    self.muted.insert(welcome.sender_id);
                }
                self.welcome = Some(welcome);
                self.joined_at = Some(now);
            }
            Message::Members(part) => {
                self.unlisted -= part.members.len() as u32;
                self.lists += 1;
                part.members.into_iter().for_each(|member| self.meet(member));
            }
            Message::RoomChanged(change) => self.update(change),
            Message::SenderFeedback(feedback) => self.feedback.push(feedback),
            Message::Ping(ping) => {
                self.say(client_message::Message::Pong(Pong { number: ping.number }))
            }
            Message::Draining(_) => self.told_to_leave = true,
            Message::Resumed(_) => self.told_to_leave = false,
            Message::Notice(notice) => self.notices.push(notice),
        }
    }

    /// Somebody else is in the room.
    fn meet(&mut self, member: Member) {
        assert_ne!(Some(member.sender_id as u16), self.sender_id(), "told of itself");
        if member.muted {
            self.muted.insert(member.sender_id);
        }
        let before = self.members.insert(member.sender_id, member.name);
        assert_eq!(before, None, "sender id given twice");
    }

    /// Changes come in order and without a gap, and only what is new is told.
    fn update(&mut self, change: RoomChanged) {
        assert_eq!(self.unlisted, 0, "a change is told before the list is complete");
        assert_eq!(change.room_version, self.room_version + 1, "client {}", self.number);
        self.room_version = change.room_version;
        for id in change.left {
            assert!(self.members.remove(&id).is_some(), "unknown member left");
            self.muted.remove(&id);
        }
        let own = self.sender_id().map(u32::from);
        for member in change.joined {
            if Some(member.sender_id) != own {
                self.meet(member);
            } else if member.muted {
                // It may have muted before it was announced, or unmuted.
                self.muted.insert(member.sender_id);
            } else {
                self.muted.remove(&member.sender_id);
            }
        }
        assert!(change.muted.into_iter().all(|id| self.muted.insert(id)), "was muted already");
        assert!(change.unmuted.iter().all(|id| self.muted.remove(id)), "was not muted");
    }

    fn hear(&mut self, now: Instant, frame: &[u8]) {
        let (header, payload) = MediaHeader::decode(frame).expect("the relay forwards valid media");
        let stamp = Stamp::decode(payload);
        assert_eq!(stamp.room, self.room, "a frame crossed from one room to another");
        assert_ne!(stamp.client as usize, self.number, "a frame came back to its sender");
        assert_eq!(header.sequence, stamp.sequence);
        let heard = self.heard.entry(stamp.client as usize).or_default();
        heard.sender_id = header.sender_id;
        let at = now.duration_since(self.start);
        match (&mut heard.settling, heard.sequences.last()) {
            (Some(settling), Some(newest)) => {
                settling.advance(at, *newest);
            }
            (settling, _) => *settling = Some(Settling::new(at, header.sequence)),
        }
        assert!(heard.sequences.insert(stamp.sequence), "a frame came twice");
        heard.latencies_us.push(at.as_micros() as u64 - stamp.sent_us);
    }

    /// A frame as this client would send it now.
    pub fn frame(&self, now: Instant, sender_id: u16) -> Bytes {
        let header = MediaHeader {
            profile: Profile::Good,
            level: AudioLevel::new(30, true),
            sender_id,
            sequence: self.sent,
            timestamp: self.sent.wrapping_mul(Profile::Good.frame_ticks()),
        };
        let stamp = Stamp {
            client: self.number as u32,
            sequence: self.sent,
            room: self.room,
            sent_us: now.duration_since(self.start).as_micros() as u64,
        };
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(&stamp.encode());
        frame.resize(HEADER_LEN + 80, 0xa5);
        frame.into()
    }

    /// Sends one frame if this client is in its room.
    pub fn talk(&mut self, now: Instant) {
        let Some(sender_id) = self.sender_id().filter(|_| self.lost.is_none()) else { return };
        let frame = self.frame(now, sender_id);
        self.sent += 1;
        if self.loses_every.is_none_or(|every| !self.sent.is_multiple_of(every)) {
            self.send_raw(frame);
        }
    }

    /// Sends any datagram.
    pub fn send_raw(&mut self, datagram: Bytes) {
        if self.connection.datagrams().send(datagram, false).is_err() {
            self.blocked += 1;
        }
    }

    /// Reports what it has heard.
    pub fn report_heard(&mut self, now: Instant) {
        let at = now.duration_since(self.start);
        let source = |heard: &Heard| {
            let (first, last) = (*heard.sequences.first()?, *heard.sequences.last()?);
            let through = heard.settling?.advance(at, last);
            let frames_expected = through.wrapping_sub(first).wrapping_add(1);
            let came = heard.sequences.range(..first.wrapping_add(frames_expected)).count();
            Some(SourceReport {
                sender_id: heard.sender_id.into(),
                frames_expected,
                frames_lost: frames_expected - came as u32,
                through_sequence: self.says_which.then_some(through),
                ..SourceReport::default()
            })
        };
        let sources = self.heard.values().filter_map(source).collect();
        self.say(client_message::Message::ReceiverReport(ReceiverReport { sources }));
    }

    /// Reports as a listener does, with the given loss of every member.
    pub fn report(&mut self, expected: u32, lost: u32) {
        let source = |sender_id: &u32| SourceReport {
            sender_id: *sender_id,
            frames_expected: expected,
            frames_lost: lost,
            ..SourceReport::default()
        };
        let sources = self.members.keys().map(source).collect();
        self.say(client_message::Message::ReceiverReport(ReceiverReport { sources }));
    }

    /// Closes the connection as a client does that is done.
    pub fn leave(&mut self, now: Instant) {
        self.connection.close(now, VarInt::from_u32(CloseCode::Done.wire()), Bytes::new());
    }
}

/// Clients here never send stateless resets.
struct NoResets;

impl quinn_proto::crypto::HmacKey for NoResets {
    fn sign(&self, _data: &[u8], signature_out: &mut [u8]) {
        signature_out.fill(0);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(
        &self,
        _data: &[u8],
        _signature: &[u8],
    ) -> Result<(), quinn_proto::crypto::CryptoError> {
        Err(quinn_proto::crypto::CryptoError)
    }
}
