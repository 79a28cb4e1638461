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
    assert!(intact.status.success(), "{intact:?}");
    let text = String::from_utf8(intact.stdout).unwrap();
    assert!(text.starts_with("3 records, from 20"), "{text}");
    let written = std::fs::read_to_string(&file).unwrap();
    let last: serde_json::Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
    assert!(text.ends_with(&format!("last hash {}\n", last["hash"].as_str().unwrap())), "{text}");

    assert!(text.contains("begins the chain"), "{text}");

    let other = state.path().join("other.log");
    std::fs::write(&other, written.replace("\"n\":2", "\"n\":7")).unwrap();
    let tampered = verify(&[other.to_str().unwrap()], state.path());
    let error = String::from_utf8(tampered.stderr).unwrap();
    assert_eq!(tampered.status.code(), Some(1));
    assert!(error.contains("other.log, line 2: its hash does not fit what it says"), "{error}");
}

#[test]
fn files_are_verified_in_order_and_one_that_continues_another_says_so() {
    let state = tempfile::tempdir().unwrap();
    let path = |name: &str| state.path().join(name);
    let settings = settings::Audit { enabled: true, ..settings::Audit::default() };
    let audit = Audit::start(&settings, &path("audit.log")).unwrap();
    let record = || {
        audit.record(AuditEvent::ConfigChange, &User::Signal, Outcome::Success, &json!({})).unwrap()
    };
    record();
    std::fs::rename(path("audit.log"), path("old.log")).unwrap();
    audit.reopen().unwrap();
    record();
    let [old, new] = ["old.log", "audit.log"].map(|name| path(name).display().to_string());
    let last_hash = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last["hash"].as_str().unwrap().to_owned()
    };

    let both = verify(&[&old, &new], state.path());
    let text = String::from_utf8(both.stdout).unwrap();
    assert!(both.status.success());
    let expected = [format!("{old}: 1 record"), format!("{new}: 2 records")];
    assert!(text.starts_with(&expected.join("\n")), "{text}");
    assert!(
        text.contains("\n3 records, from 20") && text.contains("\nbegins the chain\n"),
        "{text}"
    );
    assert!(text.ends_with(&format!("\nlast hash {}\n", last_hash(&new))), "{text}");

    let alone = verify(&[], state.path());
    let text = String::from_utf8(alone.stdout).unwrap();
    assert!(alone.status.success());
    let continues = format!("continues {}, the last hash of an older file\n", last_hash(&old));
    assert!(text.starts_with("2 records, from 20") && text.contains(&continues), "{text}");

    let reversed = verify(&[&new, &old], state.path());
    let error = String::from_utf8(reversed.stderr).unwrap();
    assert_eq!(reversed.status.code(), Some(1));
    let sentence = "the files are not in order; give the oldest first";
    assert!(error.contains("old.log, line 1: ") && error.contains(sentence), "{error}");
}
