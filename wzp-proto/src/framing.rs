//! Laying control messages into the stream: each is preceded by its length,
//! written as a protobuf varint (7 bits a byte, least significant first).

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

use crate::control::Invalid;

/// Longest control message that any peer accepts, in bytes, without its length.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes of the longest length prefix: three times seven bits hold 64 KiB.
const MAX_PREFIX_BYTES: usize = 3;

/// Why the stream cannot be read any further.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// The announced length is above the limit.
    #[error("a control message of more than {limit} bytes")]
    TooLong {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// The bytes are not a message of the schema.
    #[error("a control message that does not decode: {0}")]
    Malformed(String),
    /// The message decodes, but a field is out of its bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// One message with its length, ready for the stream.
pub fn encode(message: &impl Message) -> Bytes {
    message.encode_length_delimited_to_vec().into()
}

/// Collects the bytes of a stream into messages. Whoever pushes only what
/// [`Self::missing`] asks for has it hold one message and its length at most.
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    limit: usize,
}

impl Deframer {
    /// Accepts messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit: limit.min(MAX_MESSAGE_BYTES) }
    }

    /// Adds bytes as they come from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many more bytes the message that has begun is sure to need: until its
    /// length is known one, then all that are left, and 0 once it is complete.
    ///
    /// # Errors
    /// [`FramingError::TooLong`] as soon as the length is known.
    pub fn missing(&self) -> Result<usize, FramingError> {
        let known = self.length()?;
        let whole = |(length, prefix): (usize, usize)| prefix.saturating_add(length);
        Ok(known.map_or(1, |known| whole(known).saturating_sub(self.buffer.len())))
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`FramingError::TooLong`] as soon as the length is known;
    /// [`FramingError::Malformed`] for bytes that are no such message.
    pub fn decode<M: Message + Default>(&mut self) -> Result<Option<M>, FramingError> {
        let Some((length, prefix)) = self.length()? else { return Ok(None) };
        // Both are small: `length` is within the limit.
        if self.buffer.len() < prefix.saturating_add(length) {
            return Ok(None);
        }
        self.buffer.advance(prefix);
        let body = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Else what the longest message took would be kept for ever.
            self.buffer = BytesMut::new();
        }
        M::decode(body).map(Some).map_err(|error| FramingError::Malformed(error.to_string()))
    }

    /// The announced length and how many bytes announce it.
    fn length(&self) -> Result<Option<(usize, usize)>, FramingError> {
        let mut length = 0;
        for (index, byte) in self.buffer.iter().take(MAX_PREFIX_BYTES).enumerate() {
            length |= usize::from(byte & 0x7f) << index.saturating_mul(7);
            if byte & 0x80 == 0 {
                return if length > self.limit {
                    Err(FramingError::TooLong { limit: self.limit })
                } else {
                    Ok(Some((length, index.saturating_add(1))))
                };
            }
        }
        if self.buffer.len() >= MAX_PREFIX_BYTES {
            return Err(FramingError::TooLong { limit: self.limit });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::{ClientMessage, Hello, client_message};

    fn hello(room: &str) -> ClientMessage {
        client_message::Message::Hello(Hello { room: room.into(), ..Hello::default() }).into()
    }

    #[test]
    fn announced_length_above_the_limit_is_refused_before_the_body_comes() {
        for prefix in [&[0x80, 0x80, 0x80][..], &[0xff, 0xff, 0x7f], &[0x81, 0x80, 0x04]] {
            let mut deframer = Deframer::new(MAX_MESSAGE_BYTES);
            deframer.push(prefix);
            let refused = deframer.decode::<ClientMessage>();
            assert_eq!(refused, Err(FramingError::TooLong { limit: MAX_MESSAGE_BYTES }));
        }
    }

    #[test]
    fn unknown_messages_decode_to_nothing() {
        let mut deframer = Deframer::new(100);
        // Field 1000, length-delimited, two bytes.
        deframer.push(&[5, 0xc2, 0x3e, 2, 1, 2]);
        let message = deframer.decode::<ClientMessage>().unwrap().unwrap();
        assert_eq!(message.message, None);
        assert!(deframer.buffer.is_empty());
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_messages(
            rooms in prop::collection::vec(".{0,40}", 1..5),
            cuts in prop::collection::vec(1usize..30, 0..30),
        ) {
            let messages: Vec<_> = rooms.iter().map(|room| hello(room)).collect();
            let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).to_vec()).collect();
            let mut deframer = Deframer::new(MAX_MESSAGE_BYTES);
            let mut decoded = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                deframer.push(now);
                rest = later;
                while let Some(message) = deframer.decode::<ClientMessage>().unwrap() {
                    decoded.push(message);
                }
            }
            prop_assert_eq!(decoded, messages);
            prop_assert!(deframer.buffer.is_empty());
        }

        #[test]
        fn who_pushes_what_is_missing_has_one_message_held_at_most(
            rooms in prop::collection::vec(".{0,400}", 1..5),
            most in 1usize..300,
        ) {
            let messages: Vec<_> = rooms.iter().map(|room| hello(room)).collect();
            let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).to_vec()).collect();
            let longest = messages.iter().map(|message| encode(message).len()).max().unwrap_or(0);
            let mut deframer = Deframer::new(MAX_MESSAGE_BYTES);
            let mut decoded = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let missing = deframer.missing().unwrap();
                prop_assert!(missing > 0, "a message was left in it");
                let (now, later) = rest.split_at(missing.min(most).min(rest.len()));
                deframer.push(now);
                rest = later;
                prop_assert!(deframer.buffer.len() <= longest);
                decoded.extend(deframer.decode::<ClientMessage>().unwrap());
            }
            prop_assert_eq!(decoded, messages);
        }

        #[test]
        fn any_bytes_end_in_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut deframer = Deframer::new(128);
            deframer.push(&bytes);
            while let Ok(Some(message)) = deframer.decode::<ClientMessage>() {
                let _ = message.checked();
            }
        }
    }
}
