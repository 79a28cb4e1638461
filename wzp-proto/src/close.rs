//! How a session ends: a QUIC application close (RFC 9000 section 19.19) with
//! one of these codes and a sentence.

/// Declares the codes once: number, name and meaning.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Application error codes of CONNECTION_CLOSE.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum CloseCode {
            $($(#[doc = $meaning])+ $variant = $number,)+
        }

        impl CloseCode {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name used in documents, logs and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    /// The participant left, or the relay has nothing against it.
    Done = 0, "done";
    /// A control message broke the protocol or a field's bounds.
    Malformed = 1, "malformed";
    /// A control message was longer than the limit.
    MessageTooLong = 2, "message_too_long";
    /// A message came that has no place there, such as a second Hello.
    UnexpectedMessage = 3, "unexpected_message";
    /// Hello did not come in time.
    HelloTimeout = 4, "hello_timeout";
    /// The room has as many members as it may have.
    RoomFull = 5, "room_full";
    /// The relay has as many sessions as it may have.
    ServerFull = 6, "server_full";
    /// The relay is stopping and takes nobody in.
    Draining = 7, "draining";
    /// The relay stopped while the session was there.
    GoingAway = 8, "going_away";
    /// The client did not read its control stream or answer Ping in time.
    Unresponsive = 9, "unresponsive";
    /// The client does not take datagrams (RFC 9221).
    DatagramsRequired = 10, "datagrams_required";
    /// Control messages came faster than the limit.
    TooManyMessages = 11, "too_many_messages";
    /// The token is missing, or is none that the relay accepts.
    BadToken = 12, "bad_token";
    /// The token's time is over, at the join or in the middle of the call.
    TokenExpired = 13, "token_expired";
    /// The token is good, but not for this.
    NotAllowed = 14, "not_allowed";
    /// What decides about tokens did not answer.
    AuthUnavailable = 15, "auth_unavailable";
    /// An operator of the relay ended the session.
    Kicked = 16, "kicked";
    /// The relay is full, and this session, or connection that had not joined, made
    /// way for somebody whose network has fewer of them.
    Preempted = 17, "preempted";
    /// The session was silent, and its own address or user needed its place.
    Replaced = 18, "replaced";
    /// The part of the relay that had the session failed, and has begun again.
    RelayFailed = 19, "relay_failed";
}

impl CloseCode {
    /// The code's number on the wire.
    pub const fn wire(self) -> u32 {
        self as u32
    }

    /// The code with that number, if there is one.
    pub fn from_wire(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| u64::from(code.wire()) == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_reversible() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_wire(code.wire().into()), Some(*code));
            let same_name = CloseCode::ALL.iter().filter(|other| other.name() == code.name());
            assert_eq!(same_name.count(), 1, "{}", code.name());
        }
        assert_eq!(CloseCode::from_wire(1 << 40), None);
    }
}
