//! One connection to one address, and why there is none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportErrorCode};
use rustls::AlertDescription;
use thiserror::Error;
use wzp_proto::close::CloseCode;

use crate::address::ResolveError;
use crate::parameters;
use crate::trust::{Trust, TrustError};

/// How long one address of the relay may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a relay may take to answer Hello, and for each part of the member list.
pub(crate) const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The network says that nobody can be reached there.
    #[error(
        "{0} cannot be reached: {reason}; check the address and the port, that the relay runs, and \
         that no firewall refuses UDP",
        reason = unreachable(.1)
    )]
    Unreachable(SocketAddr, std::io::Error),
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

/// What the network said. The system's "Connection refused" is not the relay's refusal.
fn unreachable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nothing listens on that port".to_owned(),
        _ => error.to_string(),
    }
}

impl JoinError {
    /// Whether the relay takes nobody in now, but may later, and another may at once.
    pub(crate) fn is_about_now(&self) -> bool {
        use CloseCode::{AuthUnavailable, Draining, GoingAway, Preempted, RelayFailed, ServerFull};
        match self {
            Self::NoWelcome | Self::Ended(Ended::Refused | Ended::TimedOut) => true,
            Self::Ended(Ended::Closed { code, .. }) => matches!(
                code,
                AuthUnavailable | Draining | GoingAway | Preempted | RelayFailed | ServerFull
            ),
            _ => false,
        }
    }
}

/// Why a connection ended, in words for the person at the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ended {
    /// The relay closed with a code of the protocol and a sentence.
    #[error("the relay ended the session ({}): {reason}", code.name())]
    Closed {
        /// The code that the relay closed with.
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
    /// Nothing has come for so long.
    #[error(
        "nothing has come from the relay for {:.1} s; check that it runs, and that UDP passes",
        .0.as_secs_f64()
    )]
    Silent(Duration),
    /// Nothing that was sent for so long has been acknowledged.
    #[error(
        "the relay has acknowledged nothing that was sent in the last {:.0} s, whatever it sends itself; check that UDP passes in both directions",
        .0.as_secs_f64()
    )]
    Unacknowledged(Duration),
    /// The relay takes no connection from here now.
    #[error(
        "the relay takes no connection from here now: it is full, or has too many connections from this address; try again later"
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

/// What every connection to a relay has in common.
///
/// # Errors
/// Any [`TrustError`].
pub fn client_config(trust: Trust) -> Result<ClientConfig, TrustError> {
    client_config_asking(trust, parameters::KEEP_ALIVE)
}

/// The same for a client that asks for a sign of life when it has heard nothing for so long.
///
/// # Errors
/// Any [`TrustError`].
pub fn client_config_asking(trust: Trust, after: Duration) -> Result<ClientConfig, TrustError> {
    let quic = QuicClientConfig::try_from(trust.client_config()?)
        .map_err(|error| TrustError::Tls(rustls::Error::General(error.to_string())))?;
    let mut config = ClientConfig::new(Arc::new(quic));
    let mut transport = parameters::client();
    transport.keep_alive_interval(Some(after));
    config.transport_config(Arc::new(transport));
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
