//! What the relay tells systemd (sd_notify(3)): that it is ready, reloads and stops, and
//! what `watchdog.rs` has to tell. Without `NOTIFY_SOCKET` it tells nothing.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;
use wzp_telemetry::log::target;

/// For the end of the threads, after the last session's.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// A manager that does not read holds up the control plane for no longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The relay serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    // Without the time systemd takes it for a failure.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The relay stops, which takes as long as it drains: a `relay.drain_timeout`
/// above the unit's `TimeoutStopSec=` is kept, too.
pub fn stopping(drain: Duration) {
    // The library's own state ends after 71 minutes.
    let extend = format!("EXTEND_TIMEOUT_USEC={}", (drain + STOP_MARGIN).as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&extend)]);
}

pub(super) fn tell(states: &[NotifyState<'_>]) {
    /// Whether the last time failed: each failure is told once.
    static FAILING: AtomicBool = AtomicBool::new(false);
    let Some(name) = notify_socket() else { return };
    let outcome = send(&name, states);
    let failed_before = FAILING.swap(outcome.is_err(), Ordering::Relaxed);
    if let Some(error) = outcome.err().filter(|_| !failed_before) {
        warn!(target: target::RELAY, %error, NOTIFY_SOCKET = %name.display(),
              "cannot tell the service manager how the relay is");
    }
}

pub(super) fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

/// The library's own way knows no abstract names.
fn send(name: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let message = states.iter().fold(String::new(), |mut text, state| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{state}");
        text
    });
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(message.as_bytes(), &address(name)?).map(drop)
}

/// sd_notify(3): a path, or `@` and a name in the abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a path from / on nor @ and a name; leave it out if nobody is to be told",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names_are_told_apart_from_what_is_neither() {
        let long = format!("/{}", "n".repeat(108));
        for (name, good) in [
            ("/run/systemd/notify", true),
            ("@wzp", true),
            ("", false),
            ("notify", false),
            ("vsock:2:1", false),
            (&long, false),
        ] {
            assert_eq!(address(OsStr::new(name)).is_ok(), good, "{name:?}");
        }
    }
}
