//! The systemd unit, as systemd judges it, and the rotation of the audit log, as
//! logrotate does it.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::temporary_state;
use wzp_testbed::{binaries, skip};

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

#[test]
fn logrotate_leaves_files_that_are_one_chain() {
    if !skip::have_program("logrotate_leaves_files_that_are_one_chain", "logrotate") {
        return;
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/wzp-relay.logrotate");
    let mut text = std::fs::read_to_string(source).unwrap();
    let folder = temporary_state().unwrap();
    let file = |name: &str| folder.path().join(name);
    let log = file("audit.log");
    let section = format!("[audit]\nenabled = true\nfile = '{}'\n", log.display());
    std::fs::write(file("relay.toml"), section).unwrap();
    let loopback = Loopback::new(&["--config", file("relay.toml").to_str().unwrap()]);
    let (relay, state) = (binaries::relay(), loopback.state_dir());
    let reload = format!("{} --state-dir {} ctl reload", relay.display(), state.display());
    // The first record comes after the announcement, and empty files are not moved.
    assert!(Command::new("sh").args(["-c", &reload]).status().unwrap().success());
    for (of_package, here) in [
        (
            "/var/lib/wzp-relay/audit.log /var/log/wzp-relay/audit.log {",
            format!("{} {{", log.display()),
        ),
        ("    su wzp-relay wzp-relay\n", String::new()),
        ("if systemctl --quiet is-active wzp-relay; then systemctl reload wzp-relay; fi", reload),
    ] {
        assert!(text.contains(of_package), "{of_package}");
        text = text.replace(of_package, &here);
    }
    std::fs::write(file("rotation"), text).unwrap();
    let mut command = Command::new("logrotate");
    command.args(["--force", "--verbose", "--state"]).args([file("state"), file("rotation")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    loopback.stop();

    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_string_lossy().contains("/audit.log-")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.push(log);
    let output = Command::new(&relay).args(["audit", "verify"]).args(&files).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("chain intact") && said.contains("begins the chain"), "{said}");
}
