//! The client's way into a room: connect, say Hello, be welcomed.

use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, VarInt};
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    ClientMessage, Hello, Member, RelayMessage, Welcome, client_message, relay_message,
};
use wzp_proto::framing::{Deframer, FramingError, MAX_MESSAGE_BYTES, encode};

use crate::address::RelayAddress;
use crate::connect::{Connected, first};
use crate::dial::WELCOME_TIMEOUT;
pub use crate::dial::{Ended, JoinError, client_config, client_config_asking, connect};

/// A session in a room. Media goes over [`Connection::send_datagram`] and
/// [`Connection::read_datagram`]; closing the connection leaves the room.
#[derive(Debug)]
pub struct Joined {
    /// Which relay it is, of those given to [`join`].
    pub relay: Option<RelayAddress>,
    /// Keeps the socket; wait on it before exiting so that the close arrives.
    pub endpoint: Endpoint,
    /// The QUIC connection.
    pub connection: Connection,
    /// What the relay answered.
    pub welcome: Welcome,
    /// The others in the room, as the relay listed them after it.
    pub members: Vec<Member>,
    /// To the relay.
    pub sender: ControlSender,
    /// From the relay.
    pub receiver: ControlReceiver,
}

/// The sending half of the control stream.
#[derive(Debug)]
pub struct ControlSender(SendStream);

impl ControlSender {
    /// Queues one message; waits while the relay does not read.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn send(&mut self, message: client_message::Message) -> Result<(), Ended> {
        let bytes = encode(&ClientMessage::from(message));
        self.0.write_all(&bytes).await.map_err(|error| match error {
            quinn::WriteError::ConnectionLost(error) => error.into(),
            other => Ended::Lost(other.to_string()),
        })
    }
}

/// The receiving half of the control stream.
#[derive(Debug)]
pub struct ControlReceiver {
    stream: RecvStream,
    deframer: Deframer,
}

impl ControlReceiver {
    /// The next message that this version knows. Safe to drop while waiting.
    ///
    /// # Errors
    /// The connection ended or the relay broke the protocol.
    pub async fn next(&mut self) -> Result<relay_message::Message, JoinError> {
        let protocol = |error: FramingError| JoinError::Protocol(error.to_string());
        loop {
            while let Some(message) = self.deframer.decode::<RelayMessage>().map_err(protocol)? {
                if let Some(known) = message.message {
                    return Ok(known);
                }
            }
            match self.stream.read_chunk(MAX_MESSAGE_BYTES, true).await {
                Ok(Some(chunk)) => self.deframer.push(&chunk.bytes),
                Ok(None) => return Err(JoinError::Protocol("the control stream ended".into())),
                Err(quinn::ReadError::ConnectionLost(error)) => {
                    return Err(Ended::from(error).into());
                }
                Err(other) => return Err(JoinError::Protocol(other.to_string())),
            }
        }
    }
}

/// Connects to the first of the relays that answers, the earlier the better, and
/// joins. One that takes nobody in now makes way for the next.
///
/// # Errors
/// Any [`JoinError`]; [`Ended::Closed`] carries the relay's refusal.
pub async fn join(
    relays: &[RelayAddress],
    config: &ClientConfig,
    hello: Hello,
) -> Result<Joined, JoinError> {
    let mut rest = relays.to_vec();
    let mut refusal = None;
    loop {
        let Connected { relay, endpoint, connection } = match first(&rest, config).await {
            Ok(connected) => connected,
            Err(error) => return Err(refusal.unwrap_or(error)),
        };
        let address = rest.remove(relay);
        match enter(endpoint, connection, hello.clone()).await {
            Ok(joined) => return Ok(Joined { relay: Some(address), ..joined }),
            Err(error) if error.is_about_now() && !rest.is_empty() => {
                refusal.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Enters a room over an existing connection.
///
/// # Errors
/// Any [`JoinError`]; [`Ended::Closed`] carries the relay's refusal.
pub async fn enter(
    endpoint: Endpoint,
    connection: Connection,
    hello: Hello,
) -> Result<Joined, JoinError> {
    let (welcome, sender, mut receiver) = in_time(say_hello(&connection, hello)).await?;
    let members = members(&mut receiver, welcome.member_count).await?;
    Ok(Joined { relay: None, endpoint, connection, welcome, members, sender, receiver })
}

async fn in_time<T>(answer: impl Future<Output = Result<T, JoinError>>) -> Result<T, JoinError> {
    tokio::time::timeout(WELCOME_TIMEOUT, answer).await.map_err(|_| JoinError::NoWelcome)?
}

async fn say_hello(
    connection: &Connection,
    hello: Hello,
) -> Result<(Welcome, ControlSender, ControlReceiver), JoinError> {
    let (send, recv) = connection.open_bi().await.map_err(Ended::from)?;
    let mut sender = ControlSender(send);
    let mut receiver = ControlReceiver { stream: recv, deframer: Deframer::new(MAX_MESSAGE_BYTES) };
    sender.send(client_message::Message::Hello(hello)).await?;
    match receiver.next().await? {
        relay_message::Message::Welcome(welcome) => Ok((welcome, sender, receiver)),
        _ => Err(JoinError::Protocol("its first message is not Welcome".into())),
    }
}

/// The list of so many members that follows Welcome.
async fn members(receiver: &mut ControlReceiver, count: u32) -> Result<Vec<Member>, JoinError> {
    let breach = |text: String| Err(JoinError::Protocol(text));
    if count > u16::MAX.into() {
        return breach(format!("a room with {count} members"));
    }
    let mut members = Vec::new();
    while members.len() < count as usize {
        match in_time(receiver.next()).await? {
            relay_message::Message::Members(part) if !part.members.is_empty() => {
                members.extend(part.members);
            }
            _ => return breach("its member list breaks off".into()),
        }
    }
    if members.len() > count as usize {
        return breach(format!("{} members in a list of {count}", members.len()));
    }
    Ok(members)
}

/// Leaves the room and waits, up to a second, until the relay knows.
pub async fn leave(endpoint: &Endpoint, connection: &Connection) {
    connection.close(VarInt::from_u32(CloseCode::Done.wire()), b"the participant left");
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}
