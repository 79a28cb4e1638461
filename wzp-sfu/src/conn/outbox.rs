//! Control messages waiting for one client. Bounded: a client that does not
//! read its stream is dropped rather than waited for.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use quinn_proto::{Connection, StreamId};

/// More waits than one client may keep waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Encoded messages in order.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: VecDeque<Bytes>,
    bytes: usize,
    limit: usize,
}

impl Outbox {
    pub(crate) fn new(limit: u32) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, limit: limit as usize }
    }

    /// Adds a message, already encoded with its length.
    ///
    /// # Errors
    /// The client has let too much pile up.
    pub(crate) fn push(&mut self, message: Bytes) -> Result<(), Overflow> {
        if self.bytes + message.len() > self.limit {
            return Err(Overflow);
        }
        self.bytes += message.len();
        self.messages.push_back(message);
        Ok(())
    }

    /// Writes as much as the stream takes.
    pub(crate) fn write(&mut self, connection: &mut Connection, stream: StreamId) {
        while let Some(message) = self.messages.front_mut() {
            // An error means blocked, or a stream the client has given up on:
            // its ping time-out deals with that.
            let Ok(written) = connection.send_stream(stream).write(message) else { return };
            self.bytes -= written;
            message.advance(written);
            if message.is_empty() {
                self.messages.pop_front();
            }
        }
    }
}
