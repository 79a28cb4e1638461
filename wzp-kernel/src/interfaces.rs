//! The interfaces that were named, and the programs on them. This is the one part
//! of the [`super::Kernel`] that needs capabilities after the start: an interface
//! that went and came back wants its programs again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use aya::Ebpf;

use super::attach::Attachments;
use super::error::Error;
use super::reader::Shared;

/// How often they are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The interfaces. Dropping it detaches the programs.
pub struct Interfaces {
    ebpf: Ebpf,
    attachments: Attachments,
    shared: Arc<Shared>,
}

impl Interfaces {
    pub(super) fn new(ebpf: Ebpf, attachments: Attachments, shared: Arc<Shared>) -> Self {
        Self { ebpf, attachments, shared }
    }

    /// Looks after the interfaces until `ended` has no sender any more.
    pub fn look_after(mut self, ended: &Receiver<()>) {
        while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            // The log and the status have the errors; the next check tries again.
            let _ = self.check();
        }
    }

    /// Attaches the programs where they are not. Readers see what came of it.
    ///
    /// # Errors
    /// The first one; the status of the interfaces has all of them, and so has the
    /// log.
    pub fn check(&mut self) -> Result<(), Error> {
        let result = self.attachments.check(&mut self.ebpf);
        if let Some(running) = self.shared.running() {
            running.set_interfaces(self.attachments.status());
        }
        result
    }
}
