//! A client in another language, written from the protocol's description,
//! talks with ours.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::process::Process;
use wzp_testbed::service::{Answer, Service};
use wzp_testbed::{binaries, python, skip, speech, tone};

const LIMIT: Duration = Duration::from_secs(60);

fn command(loopback: &Loopback, pin: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(python::interpreter());
    command
        .arg(python::tool("wzp_client.py"))
        .args(["--room", "языки", "--name", "snake", "--pin", pin])
        .args(arguments)
        .arg(loopback.relay().listen().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn start(loopback: &Loopback, pin: &str, arguments: &[&str]) -> Process {
    Process::start("wzp_client.py", command(loopback, pin, arguments)).unwrap()
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

fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_python_client_stays_in_a_drain_that_is_taken_back_and_leaves_before_its_deadline() {
    if !skip::have_python(
        "the_python_client_stays_in_a_drain_that_is_taken_back_and_leaves_before_its_deadline",
    ) {
        return;
    }
    let loopback = Loopback::new(&[]);
    let pin = loopback.relay().fingerprint();
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(binaries::relay());
        command.arg("ctl").args(arguments).arg("--state-dir").arg(loopback.state_dir());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    let closed = |reason| {
        let scrape = loopback.relay().scrape().unwrap();
        scrape.sum("wzp_relay_connections_closed_total", &[("reason", reason)]).unwrap()
    };
    let seated = || loopback.relay().scrape().unwrap().sum("wzp_relay_active_sessions", &[]);
    // Each waits for somebody to talk with, and so until the relay has said something.
    let mut stays = start(&loopback, pin, &["--wait-for", "1", "--seconds", "1"]);
    wait("the session", || seated() == Some(1.0));
    ctl(&["drain", "--timeout", "1h"]);
    wait("Draining", || stays.stderr().contains("going to stop"));
    ctl(&["undrain"]);
    wait("Resumed", || stays.stderr().contains("goes on"));
    let other = Client::start(&loopback.client("языки", "crab"), &[]).unwrap();
    let status = stays.wait(LIMIT).unwrap();
    assert!(status.success(), "{}", stays.stderr());
    other.leave(LIMIT).unwrap();
    wait("both to be gone", || seated() == Some(0.0));

    let before = closed("left");
    let mut leaves = start(&loopback, pin, &["--wait-for", "1"]);
    wait("the session", || seated() == Some(1.0));
    ctl(&["drain", "--timeout", "1h"]);
    wait("Draining", || leaves.stderr().contains("going to stop"));
    ctl(&["drain", "--timeout", "2s", "--wait"]);
    assert!(!leaves.wait(LIMIT).unwrap().success());
    assert!(leaves.stderr().contains("left the relay"), "{}", leaves.stderr());
    assert_eq!((closed("left"), closed("going_away")), (before + 1.0, 0.0));
    loopback.stop();
}

#[test]
fn the_python_client_shows_a_token_of_its_option_or_environment() {
    if !skip::have_python("the_python_client_shows_a_token_of_its_option_or_environment") {
        return;
    }
    let service = Service::start(|asked| {
        let question: Value = serde_json::from_str(&asked.body).unwrap();
        let allow = question["token"] == "yes";
        Answer::Http(200, String::new(), json!({"allow": allow, "reason": "unpaid"}).to_string())
    });
    let loopback = Loopback::new(&["--auth-url", &service.url("/")]);
    let pin = loopback.relay().fingerprint();
    let cases = [(&[][..], "yes", true), (&["--token", "yes"], "no", true), (&[], "no", false)];
    for (arguments, variable, lets_in) in cases {
        let arguments = [&["--seconds", "0", "--linger", "0"], arguments].concat();
        let mut command = command(&loopback, pin, &arguments);
        command.env("WZP_TOKEN", variable);
        let mut client = Process::start("wzp_client.py", command).unwrap();
        let status = client.wait(LIMIT).unwrap();
        let error = client.stderr();
        assert_eq!(status.success(), lets_in, "{arguments:?} with {variable:?}: {error}");
        assert!(lets_in || error.contains("code 14") && error.contains("unpaid"), "{error}");
    }
    loopback.stop();
}
