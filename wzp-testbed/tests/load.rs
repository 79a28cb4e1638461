//! `wzp-client load` against a real relay: what it counts is what there was.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use wzp_testbed::binaries;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::process::Process;
use wzp_testbed::relay::temporary_state;

const LIMIT: Duration = Duration::from_secs(60);

/// A load that runs.
struct Load(Process);

/// What a load has printed, and how it ended.
struct Ended {
    code: Option<i32>,
    lines: Vec<Value>,
    log: String,
}

impl Load {
    fn start(relay: &Loopback, arguments: &[&str]) -> Self {
        let mut command = Command::new(binaries::client());
        command
            .args(["load", "--json", "--pin", relay.relay().fingerprint()])
            .arg(relay.relay().listen().to_string())
            .args(arguments);
        Self(Process::start("wzp-client load", command).unwrap())
    }

    fn next_line(&self) -> Value {
        let line = self.0.next_line(Instant::now() + LIMIT).unwrap();
        serde_json::from_str(&line.unwrap()).unwrap()
    }

    fn finish(mut self) -> Ended {
        let status = self.0.wait(LIMIT).unwrap();
        let text = self.0.rest_of_stdout();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Ended { code: status.code(), lines, log: self.0.stderr() }
    }
}

fn load(relay: &Loopback, arguments: &[&str]) -> Ended {
    Load::start(relay, arguments).finish()
}

impl Ended {
    fn events(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
    }

    fn result(&self) -> &Value {
        self.lines.last().unwrap()
    }

    fn count(&self, field: &str) -> u64 {
        self.result()[field].as_u64().unwrap_or_else(|| panic!("{field}: {:?}", self.result()))
    }
}

#[test]
fn every_frame_is_accounted_for() {
    let relay = Loopback::new(&[]);
    let rooms = ["--rooms", "2", "--members", "3", "--talkers", "2", "--threads", "2"];
    let times = ["--duration", "1", "--warm-up", "0.2", "--rate", "50"];
    let ended = load(&relay, &[&rooms[..], &times].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.log, "");
    assert_eq!(ended.events(), ["joined", "measuring", "measured", "result"]);
    let joined = &ended.lines[0];
    assert_eq!((joined["sessions"].as_u64(), joined["failed"].as_u64()), (Some(6), Some(0)));

    // Four talkers, 50 frames each, one more or less and those that a busy
    // machine moved over the ends.
    let sent = ended.count("frames_sent");
    let late = ended.result()["lag_us"]["max"].as_f64().unwrap() / 20_000.0;
    let tolerance = 4 * (1 + late.ceil() as u64);
    assert!(sent.abs_diff(200) <= tolerance, "{sent} instead of 200 +- {tolerance}");
    assert_eq!(ended.count("sessions"), 6);
    assert_eq!(ended.count("frames_expected"), sent * 2);
    assert_eq!(ended.count("frames_received"), sent * 2);
    let result = ended.result();
    assert_eq!(result["delivered_share"].as_f64(), Some(1.0));
    assert_eq!(result["session_loss_pct"]["max"].as_f64(), Some(0.0));
    assert_eq!((ended.count("duplicates"), ended.count("threads")), (0, 2));
    assert!(ended.count("packets_sent") > 0 && ended.count("packets_received") > 0);
    let latency = |name: &str| result["latency_us"][name].as_f64().unwrap();
    assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99"), "{result}");
    assert!(latency("p99") <= latency("max"), "{result}");
    assert!(result["cpu_s"].as_f64().unwrap() > 0.0);

    // The relay has seen the same, and nobody was taken for lost.
    let scrape = relay.relay().scrape().unwrap();
    let forwarded = scrape.sum("wzp_relay_media_packets_forwarded_total", &[]).unwrap();
    assert!(forwarded >= (sent * 2) as f64, "{forwarded}");
    relay.stop();
}

#[test]
fn idle_sessions_stay_and_send_nothing() {
    let relay = Loopback::new(&[]);
    let rooms = ["--rooms", "4", "--talkers", "0", "--joins-per-second", "200"];
    let ended = load(&relay, &[&rooms[..], &["--duration", "0.5", "--warm-up", "0"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.events(), ["joined", "measuring", "measured", "result"]);
    assert_eq!((ended.count("sessions"), ended.count("talkers")), (20, 0));
    assert_eq!((ended.count("frames_sent"), ended.count("frames_expected")), (0, 0));
    // The last of them was due 95 ms after the first.
    assert!(ended.lines[0]["seconds"].as_f64().unwrap() >= 0.095, "{}", ended.lines[0]);
    relay.stop();
}

#[test]
fn sessions_that_cannot_join_are_counted_and_are_an_error() {
    let folder = temporary_state().unwrap();
    let config = folder.path().join("relay.toml");
    std::fs::write(&config, "[limits]\nroom_members = 2\n").unwrap();
    let relay = Loopback::new(&["--config", config.to_str().unwrap()]);
    let rooms = ["--rooms", "2", "--members", "3", "--talkers", "1"];
    let ended = load(&relay, &[&rooms[..], &["--duration", "0.5", "--warm-up", "0"]].concat());
    assert_eq!(ended.code, Some(5), "{}", ended.log);
    assert_eq!(ended.log.trim_end(), "error: 2 of 6 sessions did not join: 2 room_full");
    assert_eq!((ended.count("sessions"), &ended.lines[0]["failed"]), (4, &Value::from(2)));
    assert_eq!(ended.result()["join_failures"]["room_full"], Value::from(2));
    // Who is not there is not expected to hear: every room has one listener at
    // most, and which of the three are in is not known.
    assert_eq!(ended.count("frames_received"), ended.count("frames_expected"));
    assert_eq!(ended.count("frames_expected"), ended.count("frames_sent"));
    relay.stop();
}

#[test]
fn sessions_that_the_relay_ends_are_counted_and_are_an_error() {
    let relay = Loopback::new(&["--drain-timeout", "0s"]);
    let running = Load::start(&relay, &["--duration", "1", "--warm-up", "0"]);
    while running.next_line()["event"] != "measuring" {}
    relay.stop();
    let ended = running.finish();
    assert_eq!(ended.code, Some(6), "{}", ended.log);
    assert_eq!(ended.result()["sessions_lost"]["going_away"], Value::from(5), "{}", ended.log);
    assert!(ended.log.ends_with("error: 5 of 5 sessions were lost: 5 going_away\n"));
}

#[test]
fn a_signal_ends_it_with_what_was_measured() {
    let relay = Loopback::new(&[]);
    let running = Load::start(&relay, &["--duration", "3600", "--warm-up", "0"]);
    while running.next_line()["event"] != "measuring" {}
    // Until something has been forwarded there is nothing to have measured.
    let forwarded = || {
        let scrape = relay.relay().scrape().unwrap();
        scrape.sum("wzp_relay_media_packets_forwarded_total", &[]).unwrap()
    };
    let deadline = Instant::now() + LIMIT;
    while forwarded() == 0.0 {
        assert!(Instant::now() < deadline);
    }
    running.0.terminate().unwrap();
    let ended = running.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.events(), ["measured", "result"]);
    let duration = ended.result()["duration_s"].as_f64().unwrap();
    assert!(duration > 0.0 && duration < LIMIT.as_secs_f64(), "{duration}");
    assert!(ended.count("frames_sent") > 0);
    assert_eq!(ended.count("frames_received"), ended.count("frames_expected"));
    relay.stop();
}

#[test]
fn a_signal_before_the_measured_time_ends_it_at_once() {
    let relay = Loopback::new(&[]);
    let running = Load::start(&relay, &["--warm-up", "3600"]);
    assert_eq!(running.next_line()["event"], "joined");
    running.0.terminate().unwrap();
    let ended = running.finish();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.events(), ["result"]);
    assert_eq!((ended.count("sessions"), ended.count("frames_sent")), (5, 0));
    relay.stop();
}

#[test]
fn what_cannot_work_is_told_before_it_is_tried() {
    let relay = Loopback::new(&[]);
    let cases: [(&[&str], &str); 10] = [
        (&["--talkers", "6"], "--talkers 6 is more than --members 5"),
        (&["--frame-bytes", "15"], "15"),
        (&["--frame-bytes", "1089"], "limits.frame_bytes"),
        (&["--rate", "251"], "limits.packets_per_second"),
        (&["--rate", "200", "--frame-bytes", "500"], "limits.bytes_per_second"),
        (&["--rate", "0"], "0.1 to 10000"),
        (&["--duration", "0"], "more than 0 seconds"),
        (&["--sources", "127.0.0.1,::1"], "not both"),
        (&["--sources", "::1"], "--sources has IPv6 addresses"),
        (&["--room", "lobby"], "--room"),
    ];
    for (arguments, culprit) in cases {
        let ended = load(&relay, arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.log);
        assert!(ended.log.starts_with("error: "), "{arguments:?}: {}", ended.log);
        assert!(ended.log.contains(culprit), "{arguments:?}: {}", ended.log);
        assert!(ended.lines.is_empty(), "{arguments:?}");
    }
    relay.stop();
}
