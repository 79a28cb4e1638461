//! What the log and the audit log do when the disk is full. Needs root, for a
//! file system of its own.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall end.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tracing::{dispatcher::with_default, info};
use wzp_telemetry::audit::{Audit, AuditError, Outcome, User, verify};
use wzp_telemetry::log::Log;
use wzp_telemetry::probe;
use wzp_telemetry::settings::{self, AuditEvent, LogFormat, Logging};

/// A file system of 64 KiB.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(folder.path());
        if mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: needs root to mount a small file system");
        None
    }

    /// Leaves room for less than a line.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.path().join("ballast");
        fs::write(&ballast, vec![0; 1 << 20]).unwrap_err();
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn numbers(path: &Path, of: fn(&Value) -> &Value) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| of(&line).as_u64().unwrap()).collect()
}

#[test]
fn log_lines_are_whole_in_the_file_or_go_to_standard_error() {
    let Some(disk) = SmallDisk::mount() else { return };
    let file = disk.0.path().join("a.log");
    let format = LogFormat::Json;
    let settings = Logging { file: Some(file.clone()), format, ..Logging::default() };
    let (log, dispatch) = Log::new(&settings, Vec::new()).unwrap();
    let write = |numbers: std::ops::Range<u64>| {
        with_default(&dispatch, || numbers.for_each(|n| info!(n, "line")));
        log.flush().unwrap();
    };
    write(0..10);
    let ballast = disk.fill();
    // What is left of the file's last page takes some lines; one does not fit whole.
    write(10..200);
    let counts = log.counts();
    assert!(counts.diverted > 100, "{counts:?}");
    assert_eq!((counts.lines, counts.errors), (200, 1));
    let kept = 200 - counts.diverted;
    assert_eq!(numbers(&file, |line| &line["n"]), (0..kept).collect::<Vec<_>>());

    fs::remove_file(ballast).unwrap();
    log.reopen().unwrap();
    write(200..210);
    let expected = (0..kept).chain(200..210).collect::<Vec<_>>();
    assert_eq!(numbers(&file, |line| &line["n"]), expected);
}

#[test]
fn a_disk_that_takes_nothing_is_told_before_it_is_used() {
    let Some(disk) = SmallDisk::mount() else { return };
    let file = disk.0.path().join("a/b.log");
    probe::room(&file).unwrap();
    assert!(probe::shortage(&file).unwrap().contains("KiB free"), "{:?}", probe::shortage(&file));
    let ballast = disk.fill();
    // A file without content can be made all the same.
    probe::file(&file).unwrap();
    assert_eq!(probe::room(&file).unwrap_err().kind(), ErrorKind::StorageFull);
    fs::remove_file(ballast).unwrap();
    probe::room(&file).unwrap();
    assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn audit_records_wait_until_the_disk_has_room() {
    let Some(disk) = SmallDisk::mount() else { return };
    let file = disk.0.path().join("audit.log");
    let settings = settings::Audit { enabled: true, ..settings::Audit::default() };
    let audit = Audit::start(&settings, &file).unwrap();
    let record = |n: u64| {
        let event = AuditEvent::AdminAction;
        audit.record(event, &User::Signal, Outcome::Success, &json!({ "n": n }))
    };
    record(0).unwrap();
    let ballast = disk.fill();
    let refused = (1..100).find(|n| record(*n).is_err()).unwrap();
    assert!(matches!(record(refused + 1), Err(AuditError::Write { .. })));
    assert!(!audit.is_healthy());
    assert_eq!(verify(&file).unwrap().records, refused);

    fs::remove_file(ballast).unwrap();
    record(refused + 2).unwrap();
    assert!(audit.is_healthy());
    let all = numbers(&file, |line| &line["details"]["n"]);
    assert_eq!(all, (0..=refused + 2).collect::<Vec<_>>());
    verify(&file).unwrap();
}
