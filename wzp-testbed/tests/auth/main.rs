//! Tokens, with real relays, real clients and the services that decide.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

mod audit;
mod far;
mod https;
mod jwt;
mod tls;
mod token;
mod webhook;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::{Relay, temporary_state};

const LIMIT: Duration = Duration::from_secs(60);

/// A relay with this section `[auth]`, and the folder of its files.
fn relay(folder: &TempDir, section: &str) -> Loopback {
    relay_in_environment(folder, section, &[])
}

/// The same with these variables in its environment.
fn relay_in_environment(folder: &TempDir, section: &str, variables: &[(&str, &Path)]) -> Loopback {
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, format!("[auth]\n{section}\n")).unwrap();
    Loopback::in_environment(&["--config", path.to_str().unwrap()], variables)
}

fn folder() -> TempDir {
    temporary_state().unwrap()
}

/// A client that joins "lobby" with a token and leaves at once.
fn visit(loopback: &Loopback, token: &str) -> Output {
    let mut command =
        loopback.client("lobby", "visitor").command(&["--duration".into(), "0".into()]);
    command.env("WZP_TOKEN", token).output().unwrap()
}

/// A client's exit code and its last sentence.
fn outcome(output: &Output) -> (Option<i32>, String) {
    let log = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), log.lines().last().unwrap_or_default().to_owned())
}

fn failures(relay: &Relay<'_>, reason: &str) -> f64 {
    let scrape = relay.scrape().unwrap();
    scrape.sum("wzp_relay_auth_failures_total", &[("reason", reason)]).unwrap()
}

/// Attempts that were let in, and that were not.
fn attempts(relay: &Relay<'_>) -> [f64; 2] {
    let scrape = relay.scrape().unwrap();
    ["ok", "fail"]
        .map(|result| scrape.sum("wzp_relay_auth_attempts_total", &[("result", result)]).unwrap())
}
