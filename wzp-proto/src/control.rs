//! The messages of the control stream, generated from `proto/wzp.proto`, and
//! the bounds of their fields.
//!
//! Decoding alone does not make a message acceptable: [`ClientMessage::checked`]
//! does, and a relay acts on nothing else.

use thiserror::Error;

#[allow(missing_docs, clippy::doc_markdown)] // Generated: the schema is the documentation.
mod schema {
    include!(concat!(env!("OUT_DIR"), "/wzp.v2.rs"));
}

pub use schema::*;

/// Longest room name, in bytes of UTF-8.
pub const MAX_ROOM_BYTES: usize = 128;

/// Longest display name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 128;

/// Longest software name, in bytes of UTF-8.
pub const MAX_SOFTWARE_BYTES: usize = 128;

/// Longest token, in bytes of UTF-8.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Most senders that one receiver report may speak of: with every field at its
/// largest they still fit a message of 16 KiB, the least a relay accepts.
pub const MAX_REPORT_SOURCES: usize = 300;

/// A field whose value is out of its bounds. The text is written for the peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The room name is empty.
    #[error("the room name is empty; it takes 1 to {MAX_ROOM_BYTES} bytes of UTF-8")]
    RoomEmpty,
    /// The room name is too long.
    #[error("the room name has {0} bytes; it takes 1 to {MAX_ROOM_BYTES} bytes of UTF-8")]
    RoomTooLong(usize),
    /// The display name is too long.
    #[error("the display name has {0} bytes; it takes at most {MAX_NAME_BYTES}")]
    NameTooLong(usize),
    /// The software name is too long.
    #[error("the software name has {0} bytes; it takes at most {MAX_SOFTWARE_BYTES}")]
    SoftwareTooLong(usize),
    /// The token is too long.
    #[error("the token has {0} bytes; it takes at most {MAX_TOKEN_BYTES}")]
    TokenTooLong(usize),
    /// The role is none of those in the schema.
    #[error("role {0} is not known here; this relay knows 1 (participant)")]
    Role(i32),
    /// A receiver report has too many entries.
    #[error("a receiver report on {0} senders; it takes at most {MAX_REPORT_SOURCES}")]
    ReportTooLong(usize),
    /// A sender id does not fit 16 bits or is zero.
    #[error("sender id {0}; it is between 1 and 65535")]
    SenderId(u32),
}

impl ClientMessage {
    /// The message inside, if it is one this version knows and every field is
    /// within its bounds; `None` for an unknown message, which is to be skipped.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn checked(self) -> Result<Option<client_message::Message>, Invalid> {
        match &self.message {
            Some(client_message::Message::Hello(hello)) => check_hello(hello)?,
            Some(client_message::Message::ReceiverReport(report)) => check_report(report)?,
            Some(client_message::Message::Mute(_) | client_message::Message::Pong(_)) | None => {}
        }
        Ok(self.message)
    }
}

/// The bounds of a room name, for whoever takes one from a user.
///
/// # Errors
/// [`Invalid::RoomEmpty`] or [`Invalid::RoomTooLong`].
pub const fn check_room(room: &str) -> Result<(), Invalid> {
    match room.len() {
        0 => Err(Invalid::RoomEmpty),
        1..=MAX_ROOM_BYTES => Ok(()),
        long => Err(Invalid::RoomTooLong(long)),
    }
}

fn check_hello(hello: &Hello) -> Result<(), Invalid> {
    if hello.role() != Role::Participant {
        return Err(Invalid::Role(hello.role));
    }
    check_room(&hello.room)?;
    if hello.name.len() > MAX_NAME_BYTES {
        return Err(Invalid::NameTooLong(hello.name.len()));
    }
    if hello.software.len() > MAX_SOFTWARE_BYTES {
        return Err(Invalid::SoftwareTooLong(hello.software.len()));
    }
    check_token(&hello.token)
}

/// The bounds of a token, for whoever takes one from a user.
///
/// # Errors
/// [`Invalid::TokenTooLong`].
pub const fn check_token(token: &str) -> Result<(), Invalid> {
    match token.len() {
        0..=MAX_TOKEN_BYTES => Ok(()),
        long => Err(Invalid::TokenTooLong(long)),
    }
}

fn check_report(report: &ReceiverReport) -> Result<(), Invalid> {
    if report.sources.len() > MAX_REPORT_SOURCES {
        return Err(Invalid::ReportTooLong(report.sources.len()));
    }
    match report.sources.iter().find(|source| sender_id(source.sender_id).is_none()) {
        Some(source) => Err(Invalid::SenderId(source.sender_id)),
        None => Ok(()),
    }
}

/// A sender id as it stands in a media header: 16 bits, not zero.
pub fn sender_id(field: u32) -> Option<u16> {
    u16::try_from(field).ok().filter(|id| *id != 0)
}

impl From<client_message::Message> for ClientMessage {
    fn from(message: client_message::Message) -> Self {
        Self { message: Some(message) }
    }
}

impl From<relay_message::Message> for RelayMessage {
    fn from(message: relay_message::Message) -> Self {
        Self { message: Some(message) }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn hello() -> Hello {
        Hello { role: Role::Participant.into(), room: "lobby".into(), ..Hello::default() }
    }

    fn source(sender_id: u32) -> SourceReport {
        SourceReport { sender_id, ..SourceReport::default() }
    }

    #[test]
    fn bounds_of_every_field() {
        use client_message::Message;
        let report = |sources| Message::ReceiverReport(ReceiverReport { sources });
        let cases = [
            (Message::Hello(hello()), Ok(())),
            (Message::Hello(Hello { room: "ж".repeat(64), ..hello() }), Ok(())),
            (Message::Hello(Hello { room: String::new(), ..hello() }), Err(Invalid::RoomEmpty)),
            (
                Message::Hello(Hello { room: "r".repeat(129), ..hello() }),
                Err(Invalid::RoomTooLong(129)),
            ),
            (
                Message::Hello(Hello { name: "n".repeat(129), ..hello() }),
                Err(Invalid::NameTooLong(129)),
            ),
            (
                Message::Hello(Hello { software: "s".repeat(129), ..hello() }),
                Err(Invalid::SoftwareTooLong(129)),
            ),
            (Message::Hello(Hello { token: "t".repeat(8192), ..hello() }), Ok(())),
            (
                Message::Hello(Hello { token: "t".repeat(8193), ..hello() }),
                Err(Invalid::TokenTooLong(8193)),
            ),
            (Message::Hello(Hello { role: 0, ..hello() }), Err(Invalid::Role(0))),
            (Message::Hello(Hello { role: 7, ..hello() }), Err(Invalid::Role(7))),
            (report(vec![source(1), source(65_535)]), Ok(())),
            (report(vec![source(0)]), Err(Invalid::SenderId(0))),
            (report(vec![source(65_536)]), Err(Invalid::SenderId(65_536))),
            (report(vec![source(1); 301]), Err(Invalid::ReportTooLong(301))),
        ];
        for (message, expected) in cases {
            let checked = ClientMessage::from(message.clone()).checked().map(|_| ());
            assert_eq!(checked, expected, "{message:?}");
        }
    }

    #[test]
    fn largest_report_fits_the_smallest_message_limit() {
        let most = u32::MAX;
        let source = SourceReport {
            sender_id: 65_535,
            frames_expected: most,
            frames_lost: most,
            frames_late: most,
            jitter_us: most,
            buffer_depth_ms: most,
            underruns: most,
            overruns: most,
            through_sequence: Some(most),
        };
        let sources = vec![source; MAX_REPORT_SOURCES];
        let report = ClientMessage::from(client_message::Message::ReceiverReport(ReceiverReport {
            sources,
        }));
        assert!(report.encoded_len() <= 16 * 1024, "{} bytes", report.encoded_len());
    }
}
