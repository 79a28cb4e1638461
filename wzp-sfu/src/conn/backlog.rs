//! Media waiting for one receiver. Old voice is worthless, so when a receiver
//! cannot keep up the oldest frames make way; nobody else waits.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Connection, SendDatagramError};

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Frames the receiver's connection took.
    pub(crate) sent: u64,
    /// Their bytes.
    pub(crate) sent_bytes: u64,
    /// Frames that made way for newer ones.
    pub(crate) evicted: u64,
    /// Frames that do not fit the receiver's path.
    pub(crate) unfit: u64,
}

/// Frames that the connection's own buffer has no room for.
///
/// That buffer cannot be asked what it dropped, so it is never allowed to:
/// frames wait here instead and are counted exactly.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    frames: VecDeque<Bytes>,
    bytes: usize,
    evicted: u64,
}

impl Backlog {
    /// Hands `frame` to the connection, or keeps it with at most `limit` bytes
    /// of others.
    pub(crate) fn offer(
        &mut self,
        connection: &mut Connection,
        frame: Bytes,
        limit: usize,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if self.frames.is_empty() {
            if let Some(kept) = send(connection, frame, &mut outcome) {
                self.keep(kept);
            }
            return outcome;
        }
        self.keep(frame);
        while self.bytes > limit
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= cost(&oldest);
            outcome.evicted += 1;
            self.evicted += 1;
        }
        outcome
    }

    /// Frames since the beginning that made way for newer ones.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Frames that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Hands over what waits, as far as the connection has room.
    pub(crate) fn drain_into(&mut self, connection: &mut Connection) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(frame) = self.frames.pop_front() {
            self.bytes -= cost(&frame);
            if let Some(kept) = send(connection, frame, &mut outcome) {
                self.bytes += cost(&kept);
                self.frames.push_front(kept);
                break;
            }
        }
        outcome
    }

    /// Gives up on everything that waits; returns how many frames.
    pub(crate) fn clear(&mut self) -> u64 {
        self.bytes = 0;
        self.frames.drain(..).len() as u64
    }

    fn keep(&mut self, frame: Bytes) {
        self.bytes += cost(&frame);
        // A copy, because the original is part of a packet, and a frame of few
        // bytes must not hold a whole packet for as long as it waits.
        self.frames.push_back(Bytes::copy_from_slice(&frame));
    }
}

/// What a waiting frame takes: its bytes, its handle, and what the allocator
/// adds.
fn cost(frame: &Bytes) -> usize {
    frame.len() + size_of::<Bytes>() + 32
}

/// Gives the frame back if the connection has no room for it now.
fn send(connection: &mut Connection, frame: Bytes, outcome: &mut Outcome) -> Option<Bytes> {
    let length = frame.len() as u64;
    match connection.datagrams().send(frame, false) {
        Ok(()) => {
            outcome.sent += 1;
            outcome.sent_bytes += length;
            None
        }
        Err(SendDatagramError::Blocked(frame)) => Some(frame),
        Err(
            SendDatagramError::TooLarge
            | SendDatagramError::UnsupportedByPeer
            | SendDatagramError::Disabled,
        ) => {
            outcome.unfit += 1;
            None
        }
    }
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, more: Self) {
        self.sent += more.sent;
        self.sent_bytes += more.sent_bytes;
        self.evicted += more.evicted;
        self.unfit += more.unfit;
    }
}
