//! Participants by the thousand: each a real QUIC connection, all over a few
//! sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, interval_at, timeout};
use wzp_proto::control::{Hello, Pong, Role, client_message, relay_message};
use wzp_proto::media::MediaHeader;
use wzp_testbed::loopback::Loopback;
use wzp_transport::join::{JoinError, Joined, client_config, connect, enter};
use wzp_transport::trust::Trust;

use crate::frame::frame;

/// Handshakes on their way at once: more would only overflow socket buffers of
/// a machine that runs both sides.
const DIALS: usize = 64;

/// What all participants share.
pub(crate) struct Crowd {
    endpoint: Endpoint,
    config: ClientConfig,
    relay: SocketAddr,
    dials: Semaphore,
    interval: Duration,
    hushed: watch::Sender<bool>,
}

impl Crowd {
    /// Its members talk, if they do, once every `interval`.
    pub(crate) fn new(relay: &Loopback, interval: Duration) -> Arc<Self> {
        let pin = relay.relay().fingerprint().parse().unwrap();
        Arc::new(Self {
            endpoint: roomy_endpoint(),
            config: client_config(Trust::Pinned(pin)).unwrap(),
            relay: relay.relay().listen(),
            dials: Semaphore::new(DIALS),
            interval,
            hushed: watch::channel(false).0,
        })
    }

    /// A connection that says nothing.
    pub(crate) async fn dial(self: Arc<Self>, from: Endpoint) -> Result<Connection, JoinError> {
        let _turn = self.dials.acquire().await.unwrap();
        connect(&from, self.config.clone(), self.relay, "relay").await
    }

    /// Ends all [`Voice::talk`] and [`Voice::listen`].
    pub(crate) fn hush(&self) {
        self.hushed.send_replace(true);
    }
}

/// A socket for hundreds of listeners: what the system gives by default holds
/// a few milliseconds of their media.
fn roomy_endpoint() -> Endpoint {
    const BUFFER: usize = 8 * 1024 * 1024;
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        set_socket_recv_buffer_size(&socket, BUFFER).unwrap();
    }
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)).unwrap()
}

/// One participant in a room.
pub(crate) struct Voice {
    crowd: Arc<Crowd>,
    joined: Joined,
}

/// What a participant sent and heard.
pub(crate) struct Account {
    pub(crate) sender_id: u16,
    pub(crate) sent: u32,
    /// Sequence numbers by sender.
    pub(crate) heard: BTreeMap<u16, BTreeSet<u32>>,
}

impl Voice {
    pub(crate) async fn join(crowd: &Arc<Crowd>, room: &str) -> Result<Self, JoinError> {
        let connection = crowd.clone().dial(crowd.endpoint.clone()).await?;
        let hello = Hello { role: Role::Participant.into(), room: room.into(), ..Hello::default() };
        let joined = enter(crowd.endpoint.clone(), connection, hello).await?;
        Ok(Self { crowd: crowd.clone(), joined })
    }

    /// Sends a frame every 20 ms and hears until the crowd is hushed.
    pub(crate) async fn talk(self) -> Account {
        self.take_part(true).await
    }

    /// Hears until the crowd is hushed.
    pub(crate) async fn listen(self) -> Account {
        self.take_part(false).await
    }

    /// Joins, talks for a random while, leaves; how many frames it heard. What
    /// is random follows from `seed`.
    pub(crate) async fn visit(crowd: &Arc<Crowd>, room: &str, seed: u64) -> u64 {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        tokio::time::sleep(Duration::from_millis(random % 6000)).await;
        let mut voice = Self::join(crowd, room).await.unwrap();
        let mut account = voice.account();
        let stay = Duration::from_millis(3000 + random % 3500);
        if timeout(stay, voice.run(true, &mut account)).await.is_ok() {
            panic!("the session ended: {:?}", voice.joined.connection.close_reason());
        }
        voice.joined.connection.close(0u32.into(), b"");
        account.heard.values().map(|frames| frames.len() as u64).sum()
    }

    fn account(&self) -> Account {
        let sender_id = self.joined.welcome.sender_id as u16;
        Account { sender_id, sent: 0, heard: BTreeMap::new() }
    }

    async fn take_part(mut self, talks: bool) -> Account {
        let mut account = self.account();
        let mut hushed = self.crowd.hushed.subscribe();
        let connection = self.joined.connection.clone();
        tokio::select! {
            () = self.run(talks, &mut account) => panic!("the session ended: {:?}", connection.close_reason()),
            _ = hushed.wait_for(|hushed| *hushed) => {}
        }
        // The others' last frames are still on their way.
        let _ = timeout(Duration::from_secs(1), self.run(false, &mut account)).await;
        connection.close(0u32.into(), b"");
        account
    }

    /// Talks, hears and answers Ping until the session ends.
    async fn run(&mut self, talks: bool, account: &mut Account) {
        let connection = self.joined.connection.clone();
        let every = self.crowd.interval;
        let mut clock = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                _ = clock.tick(), if talks => {
                    let frame = frame(account.sender_id, account.sent, 92);
                    if connection.send_datagram(frame.into()).is_err() {
                        return;
                    }
                    account.sent += 1;
                }
                datagram = connection.read_datagram() => {
                    let Ok(datagram) = datagram else { return };
                    let (header, _) = MediaHeader::decode(&datagram).unwrap();
                    account.heard.entry(header.sender_id).or_default().insert(header.sequence);
                }
                message = self.joined.receiver.next() => match message {
                    Ok(relay_message::Message::Ping(ping)) => {
                        let pong = client_message::Message::Pong(Pong { number: ping.number });
                        if self.joined.sender.send(pong).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                },
            }
        }
    }
}
