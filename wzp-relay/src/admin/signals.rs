//! The signals that a relay obeys.

use std::future::pending;

use anyhow::{Context, Result};
use procfs::process::Process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;
use wzp_telemetry::log::target;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The end; the signal's name.
    End(&'static str),
    /// Files that a signal has the relay read again.
    Reload,
}

/// Signals that have come, from when this was made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None if it was ignored from the start, as under nohup(1): a terminal that goes away
    /// is no wish.
    hangup: Option<Signal>,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let hangup = SignalKind::hangup();
        let obeys = !is_ignored(hangup);
        if !obeys {
            info!(
                target: target::RELAY,
                "SIGHUP stays ignored, as it was at the start; `wzp-relay ctl reload` does the same"
            );
        }
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: obeys.then(|| listen(hangup)).transpose()?,
        })
    }

    pub(super) async fn next(&mut self) -> Wish {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = hangup => Wish::Reload,
        }
    }
}

/// Whether the program was started with that signal ignored. Where the system does not
/// tell, it was not.
fn is_ignored(signal: SignalKind) -> bool {
    let status = Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (signal.as_raw_value() - 1) & 1 == 1)
}
