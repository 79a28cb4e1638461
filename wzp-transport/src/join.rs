//! The client's way into a room: connect, say Hello, be welcomed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream,
    TransportErrorCode, VarInt,
};
use rustls::AlertDescription;
use thiserror::Error;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    ClientMessage, Hello, Member, RelayMessage, Welcome, client_message, relay_message,
};
use wzp_proto::framing::{Deframer, FramingError, MAX_MESSAGE_BYTES, encode};

use crate::address::{RelayAddress, ResolveError};
use crate::parameters;
use crate::trust::{Trust, TrustError};

/// How long one address of the relay may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a relay may take to answer Hello, and for each part of the member list.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a client is not, or no longer, in a room.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The host has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No TLS configuration.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No UDP socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The address cannot be connected to at all.
    #[error("cannot connect to {0}: {1}")]
    Address(SocketAddr, quinn::ConnectError),
    /// The connection ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The relay sent something that is not the protocol.
    #[error("the relay broke the protocol: {0}")]
    Protocol(String),
    /// The relay did not answer Hello.
    #[error("the relay accepted the connection but did not answer within {} seconds", WELCOME_TIMEOUT.as_secs())]
    NoWelcome,
}

/// Why a connection ended, in words for the person at the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ended {
    /// The relay closed with a code of the protocol and a sentence.
    #[error("the relay ended the session ({}): {reason}", code.name())]
    Closed {
        /// The code.
        code: CloseCode,
        /// The relay's sentence.
        reason: String,
    },
    /// This side closed.
    #[error("the session was closed here")]
    Local,
    /// Nothing came back.
    #[error(
        "no answer from the relay; check the address, that the relay runs, and that UDP passes"
    )]
    TimedOut,
    /// The relay takes no connection from here now.
    #[error(
        "the relay refused the connection: it is full, or has too many connections from this address; try again later"
    )]
    Refused,
    /// The certificate is not the pinned one.
    #[error(
        "the relay's certificate is not the one given with --pin; check the fingerprint the relay prints when it starts"
    )]
    PinMismatch,
    /// The certificate is not trusted.
    #[error(
        "the relay's certificate is not trusted ({0}); for a self-signed relay give its fingerprint with --pin"
    )]
    Untrusted(String),
    /// The other side speaks something else.
    #[error("the other side does not speak the WZP protocol version 2")]
    WrongProtocol,
    /// Anything else.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::LocallyClosed => Self::Local,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::VersionMismatch => Self::WrongProtocol,
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                match CloseCode::from_wire(close.error_code.into_inner()) {
                    Some(code) => Self::Closed { code, reason },
                    None => Self::Lost(format!("code {}: {reason}", close.error_code)),
                }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused
            }
            ConnectionError::ConnectionClosed(close)
                if tls_alert(close.error_code) == Some(AlertDescription::NoApplicationProtocol) =>
            {
                Self::WrongProtocol
            }
            // Raised here, by this side's look at the relay's certificate.
            ConnectionError::TransportError(error) => match tls_alert(error.code) {
                Some(AlertDescription::AccessDenied) => Self::PinMismatch,
                Some(AlertDescription::NoApplicationProtocol) => Self::WrongProtocol,
                Some(
                    AlertDescription::BadCertificate
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::UnknownCA,
                ) => Self::Untrusted(error.reason),
                _ => Self::Lost(error.to_string()),
            },
            ConnectionError::Reset => Self::Lost("the relay no longer knows this session".into()),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// The TLS alert inside a CRYPTO_ERROR (RFC 9001 section 4.8).
fn tls_alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let number = u64::from(code).checked_sub(TransportErrorCode::crypto(0).into())?;
    u8::try_from(number).ok().map(AlertDescription::from)
}

/// A session in a room. Media goes over [`Connection::send_datagram`] and
/// [`Connection::read_datagram`]; closing the connection leaves the room.
#[derive(Debug)]
pub struct Joined {
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

/// Connects to the first of the relay's addresses that answers, and joins.
///
/// # Errors
/// Any [`JoinError`]; [`Ended::Closed`] carries the relay's refusal.
pub async fn join(relay: &RelayAddress, trust: Trust, hello: Hello) -> Result<Joined, JoinError> {
    let config = client_config(trust)?;
    let mut failure = None;
    for address in relay.resolve().await? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let attempt = async {
            let endpoint = Endpoint::client(any)?;
            let connection = connect(&endpoint, config.clone(), address, relay.name()).await?;
            Ok((endpoint, connection))
        };
        match attempt.await {
            Ok((endpoint, connection)) => return enter(endpoint, connection, hello).await,
            // The first failure is the one to tell: the resolver put it first.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or(JoinError::Ended(Ended::TimedOut)))
}

/// What every connection to a relay has in common.
///
/// # Errors
/// Any [`TrustError`].
pub fn client_config(trust: Trust) -> Result<ClientConfig, TrustError> {
    let quic = QuicClientConfig::try_from(trust.client_config()?)
        .map_err(|error| TrustError::Tls(rustls::Error::General(error.to_string())))?;
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(parameters::client()));
    Ok(config)
}

/// A QUIC connection to the relay, before Hello. One endpoint carries as many
/// as there are; `host` is the name the certificate is checked for.
///
/// # Errors
/// [`JoinError::Address`] or [`JoinError::Ended`].
pub async fn connect(
    endpoint: &Endpoint,
    config: ClientConfig,
    address: SocketAddr,
    host: &str,
) -> Result<Connection, JoinError> {
    let connecting = endpoint
        .connect_with(config, address, host)
        .map_err(|error| JoinError::Address(address, error))?;
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => Ok(connected.map_err(Ended::from)?),
        Err(_) => Err(Ended::TimedOut.into()),
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
    Ok(Joined { endpoint, connection, welcome, members, sender, receiver })
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
