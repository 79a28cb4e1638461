//! A relay for one client, or for one after the other, that does what a test tells
//! it, also what no relay should do. It says what it saw on a channel.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt};
use wzp_proto::close::CloseCode;
use wzp_proto::control::relay_message::Message;
use wzp_proto::control::{
    ClientMessage, Hello, Member, Members, Ping, RelayMessage, Welcome, client_message,
};
use wzp_proto::framing::{Deframer, MAX_MESSAGE_BYTES, encode};
use wzp_transport::identity::Identity;

/// The number that the fake relay gives its client.
pub(crate) const SENDER_ID: u32 = 7;

/// Where a fake relay listens and how it is recognised.
pub(crate) struct Relay<T> {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: String,
    /// What the behaviour returned once its client was gone.
    pub(crate) outcome: mpsc::Receiver<T>,
}

impl<T> Relay<T> {
    /// What the behaviour of the next session returned.
    pub(crate) fn outcome(&self) -> T {
        self.outcome.recv_timeout(PATIENCE).unwrap()
    }
}

impl<T: Send + 'static> Relay<T> {
    /// Accepts one client, reads its Hello and does as told with it.
    pub(crate) fn start<F, Fut>(behaviour: F) -> Self
    where
        F: FnOnce(Client) -> Fut + Send + 'static,
        Fut: Future<Output = T>,
    {
        let mut behaviour = Some(behaviour);
        Self::sessions(1, move |_, client| behaviour.take().unwrap()(client))
    }

    /// The same with so many clients, one after the other; the behaviour learns
    /// which it is, from 0.
    pub(crate) fn sessions<F, Fut>(sessions: usize, mut behaviour: F) -> Self
    where
        F: FnMut(usize, Client) -> Fut + Send + 'static,
        Fut: Future<Output = T>,
    {
        let (identity, _) = Identity::generate().unwrap();
        let fingerprint = identity.fingerprint().to_string();
        let (address_in, address) = mpsc::channel();
        let (outcome_in, outcome) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let endpoint = listen(&identity);
                address_in.send(endpoint.local_addr().unwrap()).unwrap();
                for session in 0..sessions {
                    // A client that refuses the relay's identity never gets here.
                    if let Ok(connection) = endpoint.accept().await.unwrap().await {
                        let client = Client::greeted(connection).await;
                        let _ = outcome_in.send(behaviour(session, client).await);
                    }
                }
                endpoint.wait_idle().await;
            });
        });
        Self { address: address.recv().unwrap(), fingerprint, outcome }
    }
}

fn listen(identity: &Identity) -> Endpoint {
    let config = ServerConfig::with_crypto(identity.quic_server_config().unwrap());
    Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// The address of one that takes no connection.
pub(crate) fn refuse() -> String {
    let (identity, _) = Identity::generate().unwrap();
    let (address_in, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let endpoint = listen(&identity);
            address_in.send(endpoint.local_addr().unwrap().to_string()).unwrap();
            while let Some(incoming) = endpoint.accept().await {
                incoming.refuse();
            }
        });
    });
    address.recv().unwrap()
}

/// The one client.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
    pub(crate) stream: SendStream,
    receive: RecvStream,
    deframer: Deframer,
}

impl Client {
    async fn greeted(connection: Connection) -> Self {
        let (stream, receive) = connection.accept_bi().await.unwrap();
        let deframer = Deframer::new(MAX_MESSAGE_BYTES);
        let mut client = Self { connection, hello: Hello::default(), stream, receive, deframer };
        match client.next().await {
            Some(client_message::Message::Hello(hello)) => client.hello = hello,
            other => panic!("{other:?} instead of Hello"),
        }
        client
    }

    /// The client's next message; `None` once it has gone.
    pub(crate) async fn next(&mut self) -> Option<client_message::Message> {
        loop {
            if let Some(message) = self.deframer.decode::<ClientMessage>().unwrap() {
                return Some(message.checked().unwrap().unwrap());
            }
            let chunk = self.receive.read_chunk(MAX_MESSAGE_BYTES, true).await.ok()??;
            self.deframer.push(&chunk.bytes);
        }
    }

    pub(crate) async fn send(&mut self, message: impl Into<RelayMessage>) {
        self.send_raw(&encode(&message.into())).await;
    }

    /// Bytes that need not be a message.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// To a room with nobody else in it.
    pub(crate) async fn welcome(&mut self, welcome: Welcome) {
        self.send(Message::Welcome(welcome)).await;
    }

    /// To a room with others.
    pub(crate) async fn welcome_among(&mut self, members: Vec<Member>) {
        self.welcome(Welcome { member_count: members.len() as u32, ..welcome() }).await;
        self.send(Message::Members(Members { members })).await;
    }

    /// To a room with nobody else in it; returns when the client is there.
    pub(crate) async fn enter(&mut self) {
        self.welcome(welcome()).await;
        self.send(Message::Ping(Ping { number: 1 })).await;
        while !matches!(self.next().await, None | Some(client_message::Message::Pong(_))) {}
    }

    pub(crate) fn close(&self, code: CloseCode, sentence: &str) {
        self.connection.close(VarInt::from_u32(code.wire()), sentence.as_bytes());
    }

    /// Every datagram until the client has gone, and how it went.
    pub(crate) async fn datagrams(&self) -> (Vec<bytes::Bytes>, quinn::ConnectionError) {
        let mut datagrams = Vec::new();
        loop {
            match self.connection.read_datagram().await {
                Ok(datagram) => datagrams.push(datagram),
                Err(end) => return (datagrams, end),
            }
        }
    }
}

/// A Welcome to an empty room.
pub(crate) fn welcome() -> Welcome {
    Welcome { session_id: 0xfeed, sender_id: SENDER_ID, room_version: 1, ..Welcome::default() }
}

/// Whether the client closed as one that leaves.
pub(crate) fn left_properly(end: &quinn::ConnectionError) -> bool {
    matches!(end, quinn::ConnectionError::ApplicationClosed(close)
        if close.error_code == VarInt::from_u32(CloseCode::Done.wire()))
}

/// How long a test waits for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn member(sender_id: u32, name: &str) -> Member {
    Member { sender_id, name: name.into(), muted: false }
}

/// A room with one more member, who says what the client says.
pub(crate) async fn parrot(mut client: Client) -> Vec<client_message::Message> {
    const PARROT: u16 = 9;
    client.welcome_among(vec![member(PARROT.into(), "Polly")]).await;
    let mut messages = Vec::new();
    let connection = client.connection.clone();
    loop {
        tokio::select! {
            message = client.next() => match message {
                Some(message) => messages.push(message),
                None => return messages,
            },
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return messages };
                let mut echo = datagram.to_vec();
                echo[2..4].copy_from_slice(&PARROT.to_be_bytes());
                let _ = connection.send_datagram(echo.into());
            }
        }
    }
}
