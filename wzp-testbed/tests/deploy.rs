//! The systemd unit, as systemd judges it.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;
use wzp_testbed::binaries;
use wzp_testbed::relay::temporary_state;

/// Exposure above which the test fails, in tenths, from 0 (nothing) to 100.
const EXPOSURE: &str = "20";

/// The unit with the relay of this build, where systemd can look at it.
fn unit() -> (TempDir, PathBuf) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/wzp-relay.service");
    let text = std::fs::read_to_string(source).unwrap();
    assert!(text.contains("/usr/bin/wzp-relay "));
    let text = text.replace("/usr/bin/wzp-relay", binaries::relay().to_str().unwrap());
    let folder = temporary_state().unwrap();
    let path = folder.path().join("wzp-relay.service");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// `None` where there is no systemd-analyze, which is said.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let (_folder, unit) = unit();
    match Command::new("systemd-analyze").args(arguments).arg(&unit).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("note: systemd-analyze is missing; the unit was not checked");
            None
        }
    }
}

#[test]
fn the_unit_has_no_mistakes() {
    let Some(output) = analyze(&["verify"]) else { return };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaints.contains("wzp-relay"), "{complaints}");
}

#[test]
fn the_unit_gives_the_relay_little() {
    let threshold = format!("--threshold={EXPOSURE}");
    let Some(output) = analyze(&["security", "--offline=true", &threshold]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
