//! Disks that are full, or nearly.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::{Place, shell};

/// A file system in memory, of its own.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(at);
        if mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(Self(at.into()));
        }
        assert!(std::env::var("CI").as_deref() != Ok("true"), "needs root to mount");
        eprintln!("\nSKIPPED, NOTHING WAS TESTED: needs root to mount a small file system\n");
        None
    }

    /// Until nothing more fits.
    fn fill(&self) {
        fs::write(self.0.join("ballast"), vec![0; 1 << 20]).unwrap_err();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn settings(place: &Place) -> String {
    let at = |name: &str| place.state().join(name).display().to_string();
    format!(
        "audit.enabled = true\naudit.file = '{}'\nlogging.file = '{}'",
        at("audit.log"),
        at("relay.log")
    )
}

#[test]
fn a_disk_that_is_full_takes_nothing() {
    let place = Place::new();
    let Some(disk) = Disk::mount(&place.state(), "size=64k") else { return };
    let settings = settings(&place);
    // It takes something, but not for long.
    let told = place.look(&settings);
    for check in ["state", "log", "audit"] {
        told.assert(check, "warning", &["KiB free", "df -h"]);
        let shown = shell(told.command(check));
        assert!(shown.contains(place.state().to_str().unwrap()), "{shown}");
    }
    disk.fill();
    let told = place.look(&settings);
    for check in ["state", "log", "audit"] {
        told.assert(check, "error", &["No space left", place.state().to_str().unwrap()]);
    }
    assert_eq!(told.code, 1);
    let check = || place.other(Command::new("env"), &["config", "check"]).output().unwrap();
    assert_eq!(check().status.code(), Some(1), "a start would keep its identity there");
    // Nothing was made by looking.
    let left = || -> Vec<_> {
        let entries = fs::read_dir(place.state()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(left(), ["ballast"]);
    // As it is told: a relay does not start, and leaves nothing that is of no use.
    let mut start = Command::new("timeout");
    start.arg("20");
    let output = place.other(start, &[]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("No space left"), "{error}");
    assert!(!left().iter().any(|name| name.contains("identity")), "{:?}", left());

    // A relay that has its identity starts, and keeps no records.
    fs::remove_file(place.state().join("ballast")).unwrap();
    let (_, pem) = wzp_transport::identity::Identity::generate().unwrap();
    fs::write(place.state().join("identity.pem"), pem).unwrap();
    disk.fill();
    let told = place.look(&settings);
    for check in ["state", "log", "audit"] {
        told.assert(check, "error", &["No space left", "df -h"]);
    }
    let check = check();
    let said = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.success() && said.contains("No space left"), "{said}");
}

#[test]
fn a_disk_that_takes_no_more_files_is_full() {
    let place = Place::new();
    let Some(_disk) = Disk::mount(&place.state(), "size=64m,nr_inodes=32") else { return };
    let settings = settings(&place);
    let told = place.look(&settings);
    told.assert("state", "warning", &["more files", "df -i"]);
    let full = (0..64).find(|n| File::create(place.state().join(format!("{n}"))).is_err());
    assert!(full.is_some());
    let told = place.look(&settings);
    for check in ["log", "audit"] {
        told.assert(check, "error", &["No space left"]);
    }
    assert!(told.lines("state").iter().all(|line| line.0 == "error"), "{}", told.text);
}

#[test]
fn a_disk_with_room_is_well() {
    let place = Place::new();
    let Some(_disk) = Disk::mount(&place.state(), "size=64m") else { return };
    let told = place.look(&settings(&place));
    for check in ["state", "log", "audit"] {
        told.assert(check, "ok", &[]);
    }
}
