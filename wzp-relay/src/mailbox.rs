//! How mail gets from one thread to another: two queues and a way to wake the
//! reader.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use rustix::event::{EventfdFlags, eventfd};

use wzp_sfu::mail::Mail;

/// Droppable mail that may wait for one shard: 20 ms of 200,000 frames a
/// second. What an overloaded shard cannot read in time is stale anyway.
const QUEUE: usize = 4096;

/// What a shard's thread finds in its box.
#[derive(Debug)]
pub(crate) enum Letter {
    /// For the shard.
    Mail(Mail),
    /// For the thread: end.
    Stop,
}

/// The writing end. Cheap to clone, one per writer.
#[derive(Clone, Debug)]
pub struct Postbox {
    kept: Sender<Letter>,
    droppable: SyncSender<Letter>,
    wake: Arc<OwnedFd>,
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Mailbox {
    kept: Receiver<Letter>,
    droppable: Receiver<Letter>,
    pub(super) wake: Arc<OwnedFd>,
}

pub(super) fn mailbox() -> io::Result<(Postbox, Mailbox)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
    let (kept_in, kept) = channel();
    let (droppable_in, droppable) = sync_channel(QUEUE);
    let postbox = Postbox { kept: kept_in, droppable: droppable_in, wake: wake.clone() };
    Ok((postbox, Mailbox { kept, droppable, wake }))
}

impl Postbox {
    /// Deposits mail without waking the reader. False if it was dropped because
    /// the reader is overloaded.
    pub(super) fn deposit(&self, mail: Mail) -> bool {
        if mail.is_droppable() {
            self.droppable.try_send(Letter::Mail(mail)).is_ok()
        } else {
            // A reader that is gone has no sessions left to care.
            let _ = self.kept.send(Letter::Mail(mail));
            true
        }
    }

    /// Wakes the reader for what was deposited.
    pub(super) fn wake(&self) {
        // Fails only when the counter is full: then it is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Deposits mail that must not be dropped and wakes the reader.
    pub fn post(&self, mail: impl Into<Mail>) {
        self.deposit(mail.into());
        self.wake();
    }

    /// Ends the reader's thread once it has read what came before.
    pub(super) fn stop(&self) {
        let _ = self.kept.send(Letter::Stop);
        self.wake();
    }
}

impl Mailbox {
    /// The next letter, if any: all that must be kept before what may be dropped.
    pub(super) fn take(&self) -> Option<Letter> {
        match self.kept.try_recv() {
            Ok(letter) => Some(letter),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => self.droppable.try_recv().ok(),
        }
    }

    /// Forgets that it was woken.
    pub(super) fn rest(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }
}
