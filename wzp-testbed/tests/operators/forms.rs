//! One form for each thing that a relay tells: what it was built from, the journal's
//! priorities, addresses.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use wzp_testbed::binaries;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::temporary_state;

use crate::{LIMIT, done};

#[test]
fn version_and_metric_tell_what_was_built() {
    let output = Command::new(binaries::relay()).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{key:?} is not in {text}")).to_owned()
    };
    let (version, commit) = (told("wzp-relay "), told("commit "));
    let (features, objects) = (told("features "), told("kernel objects "));

    // What can be known beside it.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let by_hand =
        "cat wzp-kernel/ebpf/bpfel/steer.o wzp-kernel/ebpf/bpfel/wzp.o | sha256sum | cut -c1-16";
    let output = Command::new("sh").args(["-c", by_hand]).current_dir(root).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), objects);
    let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root).output();
    let head = head.map(|head| String::from_utf8(head.stdout).unwrap()).unwrap_or_default();
    // Where that is not a release it is of files that change all the time.
    let is_of_head = commit.len() == 12 && head.starts_with(&commit);
    assert!(is_of_head || commit == "development", "{commit} is not of {head}");

    let relay = Loopback::new(&[]);
    let page = relay.relay().get("/metrics").unwrap().body;
    let sample = page.lines().find(|line| line.starts_with("wzp_relay_build_info{")).unwrap();
    for (label, value) in [
        ("version", version),
        ("commit", commit),
        ("features", features),
        ("kernel_objects", objects),
    ] {
        assert!(sample.contains(&format!("{label}=\"{value}\"")), "{sample}");
    }
    relay.stop();
}

/// What a relay that is drained soon writes to standard error, with a variable that names
/// `stream` as the journal.
fn journal(folder: &Path, stream: &dyn Fn(&File) -> String) -> String {
    let file = folder.join("stderr");
    let stderr = File::create(&file).unwrap();
    let state = folder.join("state");
    let mut command = Command::new(binaries::relay());
    command.args(["--listen", "127.0.0.1:0", "--metrics-port", "0", "--state-dir"]).arg(&state);
    command.env("JOURNAL_STREAM", stream(&stderr)).env("WZP_LOGGING__LEVEL", "debug");
    let mut relay = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let lines = BufReader::new(relay.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("wzp-client --pin")));
    done(&state, &["drain", "--exit", "--wait"]);
    assert!(relay.wait().unwrap().success());
    fs::read_to_string(file).unwrap()
}

fn own(file: &File) -> String {
    let found = file.metadata().unwrap();
    format!("{}:{}", found.dev(), found.ino())
}

#[test]
fn the_journal_gets_priorities_and_nothing_else_does() {
    let folder = temporary_state().unwrap();
    let text = journal(folder.path(), &own);
    for line in text.lines() {
        let expected = ["<3>", "<4>", "<6>", "<7>"];
        assert!(expected.iter().any(|prefix| line.starts_with(prefix)), "{line}");
        for (level, prefix) in [(" INFO ", "<6>"), (" WARN ", "<4>"), (" DEBUG ", "<7>")] {
            assert!(!line.contains(level) || line.starts_with(prefix), "{line}");
        }
    }
    assert!(text.lines().any(|line| line.starts_with("<6>") && line.contains(" ready ")), "{text}");

    // Inherited by a program whose standard error is another one.
    let text = journal(folder.path(), &|_| "1:1".to_owned());
    assert!(text.contains(" ready ") && !text.contains("<6>"), "{text}");
}

#[test]
fn a_start_that_fails_is_an_error_in_the_journal() {
    let folder = temporary_state().unwrap();
    let file = folder.path().join("stderr");
    let stderr = File::create(&file).unwrap();
    let mut command = Command::new(binaries::relay());
    command.args(["--config", "/nonexistent"]).env("JOURNAL_STREAM", own(&stderr));
    assert!(!command.stderr(stderr).status().unwrap().success());
    let text = fs::read_to_string(file).unwrap();
    assert!(text.starts_with("<3>wzp-relay: cannot read"), "{text}");
}

#[test]
fn addresses_have_short_forms() {
    for (listen, expected) in [("localhost:0", "127.0.0.1:"), (":0", "[::]:")] {
        let folder = temporary_state().unwrap();
        let state = folder.path().join("state");
        let mut command = Command::new(binaries::relay());
        command.args(["--listen", listen, "--state-dir"]).arg(&state);
        command.env("WZP_METRICS__LISTEN_ADDR", listen).stdout(Stdio::piped());
        let mut relay = command.stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(relay.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("wzp-client --pin")));
        let told: Value = serde_json::from_str(&done(&state, &["status", "--json"])).unwrap();
        let listens = told["listen"].as_str().unwrap();
        assert!(listens.starts_with(expected), "{listen} gave {listens}");
        done(&state, &["drain", "--exit"]);
        let deadline = std::time::Instant::now() + LIMIT;
        while relay.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
