//! The control stream: messages are read one after the other, each when it is its turn,
//! and written as far as the client reads.

use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Dir, ReadError, ReadableError};
use wzp_proto::close::CloseCode;
use wzp_proto::control::{ClientMessage, RelayMessage, client_message, relay_message};
use wzp_proto::framing::{self, FramingError};

use super::outbox::Overflow;
use super::{Close, Conn};

impl Conn {
    /// The next message of the client, if one is complete and `may_take` says that it is
    /// its turn: else it waits in QUIC, whose flow control holds the client back. No byte
    /// is read from the stream that is not of that message.
    ///
    /// # Errors
    /// The message, how fast they come, or the stream's end, ends the session.
    pub(crate) fn next_message(
        &mut self,
        now: Instant,
        may_take: bool,
    ) -> Result<Option<client_message::Message>, Close> {
        if !may_take {
            // Who gives the stream up is gone, whatever it waited for.
            return self.read_control(0).map(|_| None);
        }
        loop {
            let Some(message) = self.deframer.decode::<ClientMessage>().map_err(refuse)? else {
                let missing = self.deframer.missing().map_err(refuse)?;
                if self.read_control(missing)? {
                    continue;
                }
                return Ok(None);
            };
            if !self.message_meter.take(now, 1) {
                let text = "control messages come faster than this relay's limit";
                return Err(Close::new(CloseCode::TooManyMessages, text));
            }
            if let Some(known) = message.checked().map_err(|error| refuse(error.into()))? {
                return Ok(Some(known));
            }
        }
    }

    /// Moves at most so many bytes of the control stream from the connection to
    /// where messages are cut out of them. Whether there were any.
    ///
    /// # Errors
    /// The client gave up the stream, which ends the session.
    fn read_control(&mut self, at_most: usize) -> Result<bool, Close> {
        if self.control.is_none() {
            self.control = self.quic.streams().accept(Dir::Bi);
        }
        let Some(stream) = self.control else { return Ok(false) };
        let left = || Err(Close::new(CloseCode::Done, "the control stream was closed"));
        let mut recv = self.quic.recv_stream(stream);
        let mut chunks = match recv.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => return left(),
        };
        let outcome = match chunks.next(at_most) {
            Ok(Some(chunk)) => {
                self.deframer.push(&chunk.bytes);
                Ok(!chunk.bytes.is_empty())
            }
            Err(ReadError::Blocked) => Ok(false),
            Ok(None) | Err(ReadError::Reset(_)) => left(),
        };
        // Window updates go out with the next packet either way.
        let _ = chunks.finalize();
        outcome
    }

    /// Queues a message for the client.
    ///
    /// # Errors
    /// The client does not read, which ends the session.
    pub(crate) fn tell(&mut self, message: relay_message::Message) -> Result<(), Close> {
        self.tell_encoded(framing::encode(&RelayMessage::from(message)))
    }

    /// The same for a message that many sessions get.
    ///
    /// # Errors
    /// The client does not read, which ends the session.
    pub(crate) fn tell_encoded(&mut self, message: Bytes) -> Result<(), Close> {
        self.outbox.push(message).map_err(|Overflow| {
            Close::new(CloseCode::Unresponsive, "the control stream was not read")
        })?;
        self.write_control();
        Ok(())
    }

    /// Writes what waits to the stream, as far as the client lets it.
    pub(crate) fn write_control(&mut self) {
        if let Some(stream) = self.control {
            self.outbox.write(&mut self.quic, stream);
        }
    }
}

/// The close that a broken message earns.
fn refuse(error: FramingError) -> Close {
    let code = match error {
        FramingError::TooLong { .. } => CloseCode::MessageTooLong,
        FramingError::Malformed(_) | FramingError::Invalid(_) => CloseCode::Malformed,
    };
    Close::new(code, error.to_string())
}
