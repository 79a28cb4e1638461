//! Every command on the pages does what its page says: it is run as it stands there, or is
//! on the list of those that are not, with the reason.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod commands;
mod scene;
mod scenes;

use std::collections::BTreeSet;
use std::process::Command;

use wzp_testbed::skip;

use scene::Scene;

/// Beginnings of commands that are not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo ", "builds, tests or measures for minutes; continuous integration runs the tests"),
    ("export PATH=", "the programs under test are in PATH already"),
    (
        "sudo -u wzp-relay wzp-relay doctor",
        "the package makes this user; wzp-testbed/tests/doctor runs it as others",
    ),
    ("sudo apt install", "`cargo xtask deb --check` installs the packages"),
    ("systemctl reload wzp-relay", "needs systemd; it runs `wzp-relay ctl reload`, which is run"),
    ("sudo cp ca.pem", "with the next one"),
    ("sudo update-ca-certificates", "tests of what is trusted name a file in SSL_CERT_FILE"),
    ("wzp-client load --rooms 2000", "four thousand sessions are too much beside other tests"),
    (
        "wzp-relay audit verify audit.log-20261101",
        "wzp-relay/tests/audit_verify.rs has files to verify",
    ),
    (
        "wzp-client --token-file token",
        "wzp-testbed/tests/auth has relays whose certificates are trusted",
    ),
];

fn is_not_run(start: &str) -> bool {
    NOT_RUN.iter().any(|(beginning, _)| start.starts_with(beginning))
}

fn all_scenes() -> Vec<Scene> {
    vec![
        scenes::first_call(),
        scenes::operation(),
        scenes::configuration(),
        scenes::audit(),
        scenes::tokens(),
        scenes::key_pairs(),
        scenes::webhook(),
        scenes::authority(),
        scenes::load(),
    ]
}

#[test]
fn every_command_is_run_or_has_a_reason() {
    let commands = commands::all();
    let on_pages: BTreeSet<_> = commands.iter().map(commands::Command::start).collect();
    let run: BTreeSet<_> = all_scenes().iter().flat_map(|scene| scene.runs.clone()).collect();
    let neither: Vec<_> =
        on_pages.iter().filter(|start| !run.contains(*start) && !is_not_run(start)).collect();
    assert!(neither.is_empty(), "run these, or say why not: {neither:#?}");
    for (beginning, reason) in NOT_RUN {
        let is_there = on_pages.iter().any(|start| start.starts_with(beginning));
        assert!(is_there, "no page has {beginning:?}, which is not run because: {reason}");
        assert!(!run.iter().any(|start| start.starts_with(beginning)), "{beginning:?} is run");
    }
}

/// Plays a scene where it can be.
fn play(name: &str, scene: fn() -> Scene) {
    if skip::have_namespaces(name) && skip::have_program(name, "curl") {
        scene().play(name);
    }
}

#[test]
fn the_first_call() {
    play("the_first_call", scenes::first_call);
}

#[test]
fn what_operators_ask() {
    play("what_operators_ask", scenes::operation);
}

#[test]
fn a_configuration_is_checked() {
    play("a_configuration_is_checked", scenes::configuration);
}

#[test]
fn an_audit_log_is_verified() {
    play("an_audit_log_is_verified", scenes::audit);
}

#[test]
fn tokens_of_a_secret() {
    play("tokens_of_a_secret", scenes::tokens);
}

#[test]
fn tokens_of_a_key_pair() {
    let name = "tokens_of_a_key_pair";
    let has_jwt = || Command::new("python3").args(["-c", "import jwt, cryptography"]).output();
    match has_jwt() {
        Ok(output) if output.status.success() => play(name, scenes::key_pairs),
        _ => println!("{name} is skipped: python3 has no jwt and cryptography"),
    }
}

#[test]
fn a_service_that_decides() {
    play("a_service_that_decides", scenes::webhook);
}

#[test]
fn an_authority_of_ones_own() {
    play("an_authority_of_ones_own", scenes::authority);
}

#[test]
fn a_load() {
    play("a_load", scenes::load);
}
