//! `wzp-relay audit verify` tells an operator, and a script, what became of a log.
#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use wzp_telemetry::audit::{Audit, Outcome, User};
use wzp_telemetry::settings::{self, AuditEvent};

fn verify(arguments: &[&str], state: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wzp-relay"))
        .args(["audit", "verify"])
        .args(arguments)
        .env("WZP_STATE_DIR", state)
        .output()
        .unwrap()
}

#[test]
fn an_intact_log_is_described_and_the_first_bad_line_is_named() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("audit.log");
    let settings = settings::Audit { enabled: true, ..settings::Audit::default() };
    let audit = Audit::start(&settings, &file).unwrap();
    for n in 1..=3 {
        let event = AuditEvent::ConfigChange;
        audit.record(event, &User::Signal, Outcome::Success, &json!({ "n": n })).unwrap();
    }
    drop(audit);

    let intact = verify(&[], state.path());
    let text = String::from_utf8(intact.stdout).unwrap();
    assert!(intact.status.success());
    assert!(text.starts_with("3 records, from 20"), "{text}");
    let written = std::fs::read_to_string(&file).unwrap();
    let last: serde_json::Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
    assert!(text.ends_with(&format!("last hash {}\n", last["hash"].as_str().unwrap())), "{text}");

    let other = state.path().join("other.log");
    std::fs::write(&other, written.replace("\"n\":2", "\"n\":7")).unwrap();
    let tampered = verify(&[other.to_str().unwrap()], state.path());
    let error = String::from_utf8(tampered.stderr).unwrap();
    assert_eq!(tampered.status.code(), Some(1));
    assert!(error.contains("other.log, line 2: its hash does not fit what it says"), "{error}");
}
