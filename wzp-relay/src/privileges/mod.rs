//! What the relay's threads may do.
//!
//! A relay needs capabilities (capabilities(7)) to be set up: to load and attach
//! kernel programs, for large socket buffers, for ports below 1024. None of the
//! threads that read what others send needs any. So [`Privileged::split`] makes one
//! thread that keeps them, before there is any other, and gives them up in the
//! first; all threads that are started afterwards have none. The privileged thread
//! reads nothing from outside. It does what the start hands it, and ends, unless
//! there are interfaces to look after.
//!
//! [`confinement`] takes files away from the threads that read packets.

mod capabilities;
pub mod confinement;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use wzp_telemetry::log::target;

use rustix::fs::Mode;
use rustix::process::umask;
use rustix::thread::set_no_new_privs;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that has the capabilities this process was started with. It ends
/// with this handle, once it has done its work.
pub struct Privileged {
    jobs: Sender<Job>,
    /// Why all threads keep what they have, if so.
    kept: Option<io::Error>,
}

impl Privileged {
    /// Moves the calling thread's capabilities to a new one. To be called before any
    /// other thread is started.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn split() -> io::Result<Self> {
        // No program that this process might become gets more than it has.
        let promised = set_no_new_privs(true).map_err(io::Error::from);
        let (jobs, inbox) = channel::<Job>();
        thread::Builder::new()
            .name("privileged".into())
            .spawn(move || inbox.into_iter().for_each(|job| job()))?;
        let kept = promised.and_then(|()| capabilities::give_up()).err();
        Ok(Self { jobs, kept })
    }

    /// Tells the log if the system does not let the relay give up capabilities.
    pub fn report(&self) {
        if let Some(error) = &self.kept {
            tracing::warn!(target: target::PRIVILEGES,
                %error,
                "the relay cannot give up its capabilities: every thread keeps them; \
                 let it use the system calls capset and prctl"
            );
        }
    }

    /// Has the privileged thread do `work` and waits for it.
    ///
    /// # Panics
    /// `work` panics.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        self.hand_over(move || {
            // Whoever asked waits below.
            let _ = answer.send(work());
        });
        result.recv().expect("the privileged thread answers unless its work panics")
    }

    /// Hands over `work` that takes as long as the relay lives. With it the thread
    /// keeps the capabilities that attaching programs takes, and no others.
    pub fn keep_interfaces(self, work: impl FnOnce() + Send + 'static) {
        self.hand_over(move || {
            if let Err(error) = capabilities::keep_for_interfaces() {
                tracing::warn!(target: target::PRIVILEGES, %error, "the privileged thread keeps capabilities it does not need");
            }
            work();
        });
    }

    fn hand_over(&self, work: impl FnOnce() + Send + 'static) {
        // The thread is there as long as this handle, or has panicked and said so.
        let _ = self.jobs.send(Box::new(work));
    }
}

/// Files and directories that this process makes are for its user alone, whatever
/// its parent's umask.
pub fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}
