//! What operators do with a relay that runs.
//!
//! * `commands`: `wzp-relay ctl`
//! * `doors`: what strangers are called
//! * `forms`: one form for each thing that is told
//! * `held`: what keeps a relay waiting
//! * `manager`: what the service manager is told
//! * `watching`: `ctl top`, `events` and `status`

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod commands;
mod doors;
mod forms;
mod held;
mod manager;
mod watching;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use wzp_testbed::binaries;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `wzp-relay ctl` against the relay of that state directory.
fn ctl(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::relay());
    command.arg("ctl").args(arguments).arg("--state-dir").arg(state).output().unwrap()
}

/// The same for what must work; what it printed.
fn done(state: &Path, arguments: &[&str]) -> String {
    let output = ctl(state, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same for what the relay refuses; its sentence.
fn refused(state: &Path, arguments: &[&str]) -> String {
    let output = ctl(state, arguments);
    assert_eq!(output.status.code(), Some(4), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
