//! A client in another language, written from the protocol's description,
//! talks with ours.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::process::Process;
use wzp_testbed::{python, skip, speech, tone};

const LIMIT: Duration = Duration::from_secs(60);

fn start(loopback: &Loopback, pin: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(python::interpreter());
    command
        .arg(python::tool("wzp_client.py"))
        .args(["--room", "языки", "--name", "snake", "--pin", pin])
        .args(arguments)
        .arg(loopback.relay().listen().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Process::start("wzp_client.py", command).unwrap()
}

#[test]
fn the_python_client_and_ours_hear_each_other() {
    if !skip::have_python("the_python_client_and_ours_hear_each_other") {
        return;
    }
    let loopback = Loopback::new(&[]);
    let recording = loopback.folder().join("rust.wav");
    let tone = ["--wait-for", "1", "--linger", "1.5", "--tone-hz"];
    let ours = Client::start(
        &loopback.client("языки", "crab"),
        &[&tone[..], &["440", "--send-tone", "3", "--record", recording.to_str().unwrap()]]
            .concat(),
    )
    .unwrap();
    let arguments = [&tone[..], &["620", "--seconds", "3"]].concat();
    let mut theirs = start(&loopback, loopback.relay().fingerprint(), &arguments);

    let ours = ours.finish(LIMIT).unwrap();
    let [talker] = &ours.talkers[..] else { panic!("{ours:?}") };
    assert_eq!((talker.name.as_str(), talker.received, talker.lost), ("snake", 150, 0));
    let samples = speech::read(&recording).unwrap();
    let sounding = &samples[wzp_testbed::measure::sounding(&samples)];
    let (theirs_level, own_level) =
        (tone::level_db(sounding, 620.0), tone::level_db(sounding, 440.0));
    assert!(theirs_level > -30.0 && own_level < -50.0, "{theirs_level} dB, {own_level} dB");

    let status = theirs.wait(LIMIT).unwrap();
    assert!(status.success(), "{}", theirs.stderr());
    let summary: Value = serde_json::from_str(&theirs.rest_of_stdout()).unwrap();
    println!("{summary}");
    assert_eq!(summary["frames_sent"], 150);
    assert_eq!(summary["talkers"].as_array().unwrap().len(), 1);
    let talker = &summary["talkers"][0];
    assert_eq!(talker["name"], "crab");
    assert_eq!((&talker["received"], &talker["lost"]), (&Value::from(150), &Value::from(0)));
    assert_eq!(talker["tone_hz"], 440);
    loopback.stop();
}

#[test]
fn the_python_client_refuses_another_relay() {
    if !skip::have_python("the_python_client_refuses_another_relay") {
        return;
    }
    let loopback = Loopback::new(&[]);
    let mut client = start(&loopback, &"0".repeat(64), &["--seconds", "1"]);
    assert!(!client.wait(LIMIT).unwrap().success());
    let error = client.stderr();
    assert!(error.contains("not the pinned one"), "{error}");
    loopback.stop();
}
