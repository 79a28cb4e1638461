//! No line that was written is lost or doubled, whenever the process is killed.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytesize::ByteSize;
use flate2::read::GzDecoder;
use serde_json::Value;
use tracing::{dispatcher::with_default, info};
use wzp_telemetry::log::Log;
use wzp_telemetry::settings::{LogFormat, Logging};

const ROUNDS: usize = 200;
/// After so many rounds with the same files new ones are begun.
const ROUNDS_PER_FOLDER: usize = 20;

/// Not a test: the process that is killed. Says each number once its line is written.
#[test]
#[ignore = "started by the test below"]
fn writer() {
    let file = PathBuf::from(std::env::var_os("LOG_KILL_FILE").unwrap());
    let first: u64 = std::env::var("LOG_KILL_FIRST").unwrap().parse().unwrap();
    let settings = Logging {
        file: Some(file),
        format: LogFormat::Json,
        max_size: ByteSize::b(2000),
        max_backups: 0,
        ..Logging::default()
    };
    let (log, dispatch) = Log::new(&settings, Vec::new()).unwrap();
    let mut out = std::io::stdout();
    with_default(&dispatch, || {
        for n in first.. {
            info!(n, "line");
            log.flush().unwrap();
            // Not println, which the test harness would keep.
            out.write_all(format!("{n}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }
    });
}

/// The numbers in all files. Where a name has both forms, the compressed one is whole.
fn numbers(folder: &Path) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut text = String::new();
        match path.extension().unwrap().to_str().unwrap() {
            "log" if !path.with_extension("log.gz").exists() => {
                text = fs::read_to_string(&path).unwrap();
            }
            "gz" => {
                GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
            }
            _ => {}
        }
        // A line that the kill has cut short is no JSON.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for line in lines {
            *found.entry(line["n"].as_u64().unwrap()).or_default() += 1;
        }
    }
    found
}

/// Lets the writer go on for a while, kills it, and gives the last number it said.
fn round(file: &Path, first: u64, life: Duration) -> u64 {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture", "--quiet"])
        .env("LOG_KILL_FILE", file)
        .env("LOG_KILL_FIRST", first.to_string())
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap());
    // The harness says something first.
    let mut line = String::new();
    while line.trim().parse() != Ok(first) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the writer ended by itself");
    }
    let reader = std::thread::spawn(move || {
        let whole = said.split(b'\n').map_while(Result::ok);
        whole
            .filter_map(|line| String::from_utf8(line).ok()?.parse::<u64>().ok())
            .collect::<Vec<_>>()
    });
    // Not waiting for anything: the moment of the kill is what is varied.
    std::thread::sleep(life);
    writer.kill().unwrap();
    writer.wait().unwrap();
    let mut rest = reader.join().unwrap();
    // The last one may be cut short.
    rest.pop();
    rest.last().copied().unwrap_or(first)
}

#[test]
fn no_line_is_lost_or_doubled_by_a_kill() {
    let mut compressed = 0;
    for folder in 0..ROUNDS / ROUNDS_PER_FOLDER {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.log");
        let mut next = 1;
        for number in 0..ROUNDS_PER_FOLDER {
            let chance = std::hash::RandomState::new().build_hasher().finish();
            let last = round(&file, next, Duration::from_micros(chance % 25_000));
            let found = numbers(place.path());
            let missing: Vec<_> = (1..=last).filter(|n| !found.contains_key(n)).collect();
            let doubled: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
            assert!(
                missing.is_empty() && doubled.is_empty(),
                "folder {folder}, round {number}: missing {missing:?}, not once {doubled:?}"
            );
            next = found.last_key_value().map_or(1, |(last, _)| last + 1);
        }
        let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        compressed += names.filter(|path| path.extension().is_some_and(|end| end == "gz")).count();
    }
    assert!(compressed > ROUNDS / 10, "hardly any file was put aside and compressed: {compressed}");
}
