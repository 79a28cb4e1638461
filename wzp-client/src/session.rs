//! One session with a relay: from its Welcome to its end. A call may have several,
//! one after the other.

use quinn::{Connection, Endpoint, VarInt};
use tokio::time::Instant;
use wzp_command::SOFTWARE;
use wzp_command::arguments::TokenError;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Grant, Hello, Role, sender_id};
use wzp_transport::address::RelayAddress;
use wzp_transport::delivery::Delivery;
use wzp_transport::join::{self, ControlReceiver, Ended, JoinError, Joined};

use crate::cli::Options;
use crate::exit::Failure;
use crate::members::{Impossible, Members};
use crate::outbox::Outbox;
use crate::pulse::Pulse;

/// A session whose Welcome makes sense.
pub(crate) struct Session {
    pub(crate) relay: RelayAddress,
    endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) delivery: Delivery,
    pub(crate) pulse: Pulse,
    pub(crate) control: ControlReceiver,
    pub(crate) outbox: Outbox,
    pub(crate) entered: Instant,
    pub(crate) sender_id: u16,
    pub(crate) session_id: u64,
    pub(crate) members: Members,
    /// What it was entered with.
    pub(crate) token: String,
    /// What the relay lets this client do; everything if it does not say.
    pub(crate) grant: Option<Grant>,
    /// How many members a room may have; 0 if the relay does not say.
    pub(crate) room_members: u32,
    /// When a draining relay is left at the latest.
    pub(crate) drain_at: Option<Instant>,
}

impl Session {
    /// Joins the room at one of the relays.
    pub(crate) async fn enter(
        options: &Options,
        relays: &[RelayAddress],
    ) -> Result<Self, JoinFailure> {
        // Read each time: the one before may be over.
        let token = options.token.read().map_err(JoinFailure::Token)?;
        let hello = Hello {
            role: Role::Participant.into(),
            software: SOFTWARE.to_owned(),
            room: options.room.clone(),
            name: options.name.clone(),
            muted: !options.has_voice(),
            token: token.clone(),
        };
        let config = join::client_config_asking(options.trust.trust(), options.asks_after());
        let config = config.map_err(JoinError::from)?;
        let joined = join::join(relays, &config, hello).await?;
        match check(&joined) {
            Ok((sender_id, members)) => {
                let Joined { relay, endpoint, connection, welcome, sender, receiver, .. } = joined;
                Ok(Self {
                    relay: relay.unwrap_or_else(|| relays[0].clone()),
                    endpoint,
                    delivery: Delivery::of(&connection),
                    pulse: Pulse::of(&connection),
                    connection,
                    control: receiver,
                    outbox: Outbox::new(sender),
                    entered: Instant::now(),
                    sender_id,
                    session_id: welcome.session_id,
                    members,
                    token,
                    grant: welcome.grant,
                    room_members: welcome.limits.map_or(0, |limits| limits.room_members),
                    drain_at: None,
                })
            }
            Err(breach) => {
                let error = JoinError::Protocol(breach);
                reproach(&joined.connection, &error);
                join::leave(&joined.endpoint, &joined.connection).await;
                Err(error.into())
            }
        }
    }

    /// Why it ended: a relay that closes tells why in its close, whatever was read
    /// first.
    pub(crate) fn why(&self, error: JoinError) -> JoinError {
        match self.connection.close_reason() {
            Some(reason) => Ended::from(reason).into(),
            None => error,
        }
    }

    /// Tells a relay that broke the protocol how, and closes.
    pub(crate) fn reproach(&self, error: &JoinError) {
        reproach(&self.connection, error);
    }

    /// Tells the relay, if it hears, that this is the end of the session.
    pub(crate) fn part(&self) {
        let code = VarInt::from_u32(CloseCode::Done.wire());
        self.connection.close(code, b"the participant left");
    }

    /// Leaves, and waits until the relay knows.
    pub(crate) async fn leave(&self) {
        join::leave(&self.endpoint, &self.connection).await;
    }

    /// Leaves while the call goes on.
    pub(crate) fn leave_behind(self) {
        tokio::spawn(async move { self.leave().await });
    }
}

/// Why a room was not entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinFailure {
    /// The token cannot be read.
    #[error("{0}")]
    Token(TokenError),
    /// What the network or the relay had against it.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl JoinFailure {
    /// The failure of a call that did not begin, or could not go on.
    pub(crate) fn of_call(self, options: &Options) -> Failure {
        match self {
            Self::Token(error) => Failure::Token(error),
            Self::Join(error) => Failure::Join {
                room: options.room.clone(),
                relay: options.relays(),
                source: Box::new(error),
            },
        }
    }
}

fn check(session: &Joined) -> Result<(u16, Members), Impossible> {
    if session.connection.max_datagram_size().is_none() {
        return Err("it takes no datagrams (RFC 9221)".to_owned());
    }
    let given = session.welcome.sender_id;
    let own = sender_id(given).ok_or_else(|| format!("a Welcome with sender id {given}"))?;
    Ok((own, Members::new(own, &session.members)?))
}

fn reproach(connection: &Connection, error: &JoinError) {
    if let JoinError::Protocol(breach) = error {
        connection.close(VarInt::from_u32(CloseCode::Malformed.wire()), breach.as_bytes());
    }
}
