//! The closed sets of reasons and states. Each variant is one value of a label
//! and exists from the start at zero.

use std::fmt;
use std::ops::Index;

use wzp_proto::close::CloseCode;

use super::number::Count;

/// A closed set of label values.
pub trait Reason: Copy + 'static {
    /// Every value there is.
    const ALL: &'static [Self];

    /// The value of the label.
    fn name(self) -> &'static str;

    /// Position in [`Self::ALL`].
    fn index(self) -> usize;
}

macro_rules! reasons {
    ($(#[doc = $purpose:literal])+ $set:ident: $($(#[doc = $meaning:literal])+ $variant:ident = $name:literal;)+) => {
        $(#[doc = $purpose])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $set {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl Reason for $set {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Why a media datagram was not forwarded.
    DropReason:
    /// Shorter than a media header and one byte.
    Short = "short";
    /// Not protocol version 2.
    Version = "version";
    /// A kind of datagram that a participant does not send.
    Kind = "kind";
    /// The sender id is not the one the relay assigned.
    SenderId = "sender_id";
    /// The sender is not in a room.
    NotJoined = "not_joined";
    /// The sender's token does not let it publish.
    MayNotPublish = "may_not_publish";
    /// Above `limits.packets_per_second`.
    PacketRate = "packet_rate";
    /// Above `limits.bytes_per_second`.
    ByteRate = "byte_rate";
    /// Above `limits.frame_bytes`.
    TooLong = "too_long";
    /// Made way for newer media of a receiver that cannot keep up
    /// (`limits.send_buffer_bytes`).
    SendBuffer = "send_buffer";
    /// Does not fit the receiver's path or its own limit.
    Path = "path";
    /// The queue to another shard was full. Packets handed on to their own
    /// shard count here too.
    ShardQueue = "shard_queue";
}

reasons! {
    /// Why what a listener reports of a sender was ignored.
    ReportRefusal:
    /// A field is out of its bounds, or more was lost than was due.
    Impossible = "impossible";
    /// The report speaks of the same sender a second time.
    Repeated = "repeated";
    /// Nobody of that number has been forwarded in the room lately.
    UnknownSender = "unknown_sender";
    /// A total grew by more than there can have been since the last report.
    Leap = "leap";
    /// The queue to a sender's shard was full: its senders are not told this time.
    ShardQueue = "shard_queue";
}

reasons! {
    /// Why a UDP packet was made and never left.
    UnsentReason:
    /// The kernel refused it: no route, a firewall, too long for the path.
    Refused = "refused";
    /// It waited for a full send buffer until it was of no use.
    Stale = "stale";
    /// It waited and made way for newer ones (`limits.send_buffer_bytes` for one
    /// destination, `limits.unsent_bytes` for all).
    Crowded = "crowded";
}

reasons! {
    /// Why a connection was refused before it began.
    RefuseReason:
    /// Above `limits.sessions_per_address`.
    Address = "address";
    /// Above `limits.sessions_per_site`.
    Site = "site";
    /// Above `limits.sessions_per_network`.
    Network = "network";
    /// Above `limits.handshakes`, or above a prefix's share of it.
    Handshakes = "handshakes";
    /// Its first packet is not acceptable QUIC.
    Invalid = "invalid";
}

reasons! {
    /// Why a connection that had begun is over.
    EndReason:
    /// The participant closed it.
    Left = "left";
    /// Nothing came for `limits.idle_timeout`.
    IdleTimeout = "idle_timeout";
    /// The peer lost its state or broke QUIC or TLS.
    Transport = "transport";
    /// The QUIC handshake took longer than `limits.handshake_timeout`.
    HandshakeTimeout = "handshake_timeout";
    /// Closed with the code of that name.
    Malformed = "malformed";
    /// Closed with the code of that name.
    MessageTooLong = "message_too_long";
    /// Closed with the code of that name.
    TooManyMessages = "too_many_messages";
    /// Closed with the code of that name.
    UnexpectedMessage = "unexpected_message";
    /// Closed with the code of that name.
    HelloTimeout = "hello_timeout";
    /// Closed with the code of that name.
    RoomFull = "room_full";
    /// Closed with the code of that name.
    ServerFull = "server_full";
    /// Closed with the code of that name.
    Draining = "draining";
    /// Closed with the code of that name.
    GoingAway = "going_away";
    /// Closed with the code of that name.
    Unresponsive = "unresponsive";
    /// Closed with the code of that name.
    DatagramsRequired = "datagrams_required";
    /// Closed with the code of that name.
    BadToken = "bad_token";
    /// Closed with the code of that name.
    TokenExpired = "token_expired";
    /// Closed with the code of that name.
    NotAllowed = "not_allowed";
    /// Closed with the code of that name.
    AuthUnavailable = "auth_unavailable";
    /// Closed with the code of that name.
    Kicked = "kicked";
    /// Closed with the code of that name.
    Preempted = "preempted";
    /// Closed with the code of that name.
    Replaced = "replaced";
    /// Closed with the code of that name.
    RelayFailed = "relay_failed";
}

reasons! {
    /// Why a QUIC handshake was not completed.
    HandshakeFailure:
    /// It took longer than `limits.handshake_timeout` or the idle time-out.
    Timeout = "timeout";
    /// The peer gave up, lost its state or broke QUIC or TLS.
    Transport = "transport";
    /// The relay stopped.
    GoingAway = "going_away";
    /// It made way for a connection from elsewhere (`limits.handshakes`).
    Preempted = "preempted";
    /// The shard that had it failed.
    RelayFailed = "relay_failed";
}

impl From<EndReason> for HandshakeFailure {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::HandshakeTimeout | EndReason::IdleTimeout => Self::Timeout,
            EndReason::GoingAway => Self::GoingAway,
            EndReason::Preempted => Self::Preempted,
            EndReason::RelayFailed => Self::RelayFailed,
            _ => Self::Transport,
        }
    }
}

reasons! {
    /// Where a connection is in its life: one value of a `state` label.
    SessionState:
    /// QUIC and TLS are not done.
    Handshaking = "handshaking";
    /// They are, and Hello has not come.
    AwaitingHello = "awaiting_hello";
    /// Who decides about its token has been asked.
    Authenticating = "authenticating";
    /// The room's home has been asked.
    Joining = "joining";
    /// In a room.
    Established = "established";
    /// Over, and not yet forgotten by QUIC.
    Closing = "closing";
}

reasons! {
    /// Why a participant was not let in.
    AuthFailReason:
    /// Hello carries no token.
    Missing = "missing";
    /// The token is not a JSON Web Token.
    Malformed = "malformed";
    /// The token names an algorithm that is not allowed.
    Algorithm = "algorithm";
    /// No key of that algorithm and key id is known.
    UnknownKey = "unknown_key";
    /// The signature is not that of the key.
    Signature = "signature";
    /// A claim is missing or of the wrong kind.
    Claims = "claims";
    /// The time of `exp` is over.
    Expired = "expired";
    /// The time of `nbf` has not come.
    NotYetValid = "not_yet_valid";
    /// `aud` names none of `auth.jwt.audience`.
    Audience = "audience";
    /// `iss` is none of `auth.jwt.issuer`.
    Issuer = "issuer";
    /// The token is for other rooms.
    Room = "room";
    /// The service of `auth.webhook.url` says no.
    Denied = "denied";
    /// The service that decides, or that has the keys, did not answer.
    Unavailable = "unavailable";
    /// More wait for a decision than may wait, or more from its address.
    Busy = "busy";
    /// The service of `auth.webhook.url` failed for its address again and again, and
    /// is not asked for it for `auth.webhook.breaker_pause`.
    SourcePaused = "source_paused";
}

impl From<AuthFailReason> for CloseCode {
    fn from(reason: AuthFailReason) -> Self {
        match reason {
            AuthFailReason::Missing
            | AuthFailReason::Malformed
            | AuthFailReason::Algorithm
            | AuthFailReason::UnknownKey
            | AuthFailReason::Signature
            | AuthFailReason::Claims
            | AuthFailReason::NotYetValid
            | AuthFailReason::Audience
            | AuthFailReason::Issuer => Self::BadToken,
            AuthFailReason::Expired => Self::TokenExpired,
            AuthFailReason::Room | AuthFailReason::Denied => Self::NotAllowed,
            AuthFailReason::Unavailable | AuthFailReason::Busy | AuthFailReason::SourcePaused => {
                Self::AuthUnavailable
            }
        }
    }
}

impl From<CloseCode> for EndReason {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Done => Self::Left,
            CloseCode::Malformed => Self::Malformed,
            CloseCode::MessageTooLong => Self::MessageTooLong,
            CloseCode::TooManyMessages => Self::TooManyMessages,
            CloseCode::UnexpectedMessage => Self::UnexpectedMessage,
            CloseCode::HelloTimeout => Self::HelloTimeout,
            CloseCode::RoomFull => Self::RoomFull,
            CloseCode::ServerFull => Self::ServerFull,
            CloseCode::Draining => Self::Draining,
            CloseCode::GoingAway => Self::GoingAway,
            CloseCode::Unresponsive => Self::Unresponsive,
            CloseCode::DatagramsRequired => Self::DatagramsRequired,
            CloseCode::Kicked => Self::Kicked,
            CloseCode::Preempted => Self::Preempted,
            CloseCode::Replaced => Self::Replaced,
            CloseCode::RelayFailed => Self::RelayFailed,
            CloseCode::BadToken => Self::BadToken,
            CloseCode::TokenExpired => Self::TokenExpired,
            CloseCode::NotAllowed => Self::NotAllowed,
            CloseCode::AuthUnavailable => Self::AuthUnavailable,
        }
    }
}

/// One [`Count`] per reason.
pub struct PerReason<R: Reason> {
    counts: Box<[Count]>,
    set: std::marker::PhantomData<fn(R)>,
}

impl<R: Reason> PerReason<R> {
    /// Each reason with its count, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (R, u64)> {
        R::ALL.iter().map(|reason| (*reason, self[*reason].get()))
    }
}

impl<R: Reason> Default for PerReason<R> {
    fn default() -> Self {
        let counts = R::ALL.iter().map(|_| Count::default()).collect();
        Self { counts, set: std::marker::PhantomData }
    }
}

impl<R: Reason> Index<R> for PerReason<R> {
    type Output = Count;

    fn index(&self, reason: R) -> &Count {
        &self.counts[reason.index()]
    }
}

impl<R: Reason> fmt::Debug for PerReason<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(reason, count)| (reason.name(), count))).finish()
    }
}
