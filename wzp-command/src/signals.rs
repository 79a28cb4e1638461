//! The signals that end the program in good order.

use std::future::pending;
use std::io;

use procfs::process::Process;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM, and SIGHUP, which comes when the terminal goes away.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None if it was ignored from the start, as under nohup(1): the program is to outlive
    /// its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on they do not end the program by themselves.
    ///
    /// # Errors
    /// The system does not let them be caught.
    pub fn new() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: (!is_ignored(hangup)).then(|| signal(hangup)).transpose()?,
        })
    }

    /// Waits for one of them.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether the program was started with that signal ignored. Where the system does not
/// tell, it was not.
fn is_ignored(signal: SignalKind) -> bool {
    let status = Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (signal.as_raw_value() - 1) & 1 == 1)
}
