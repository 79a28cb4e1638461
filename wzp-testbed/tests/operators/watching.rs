//! `wzp-relay ctl top`, `events` and `status`: a relay that is watched while it works.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use wzp_testbed::binaries;
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::process::Process;

use crate::{LIMIT, ctl, done, refused, wait};

/// Most who may follow, as docs/operations.md says.
const FOLLOWERS: usize = 8;

fn talker(relay: &Loopback, name: &str) -> Client {
    Client::start(&relay.client("room", name), &["--no-reconnect", "--send-tone", "600"]).unwrap()
}

/// `ctl events`, once it follows.
fn follower(relay: &Loopback) -> Process {
    let mut command = Command::new(binaries::relay());
    command.args(["ctl", "events", "--state-dir"]).arg(relay.state_dir());
    let mut process = Process::start("ctl events", command).unwrap();
    assert_eq!(next(&mut process)["event"], "following");
    process
}

fn next(process: &mut Process) -> Value {
    let line = process.next_line(Instant::now() + LIMIT).unwrap();
    serde_json::from_str(&line.expect("an event")).unwrap()
}

/// The next event of that kind, past others.
fn next_of(process: &mut Process, event: &str) -> Value {
    loop {
        let found = next(process);
        if found["event"] == event {
            return found;
        }
    }
}

#[test]
fn events_tell_of_joins_leaves_and_changes_until_the_relay_ends() {
    let relay = Loopback::new(&[]);
    let mut follower = follower(&relay);
    let anna = talker(&relay, "anna");
    let joined = next_of(&mut follower, "joined");
    assert_eq!((&joined["room"], &joined["name"]), (&"room".into(), &"anna".into()));
    assert!(joined["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{joined}");
    let time = joined["time"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{time}");

    let level = ["log-level", "info,wzp::session=debug"];
    done(&relay.state_dir(), &level);
    let changed = next_of(&mut follower, "changed");
    assert_eq!(changed["action"], "log_level");
    assert_eq!(changed["details"]["filter"], level[1]);
    assert!(refused(&relay.state_dir(), &["undrain"]).contains("not draining"));
    let failed = next_of(&mut follower, "changed");
    assert!(failed["error"].as_str().unwrap().contains("not draining"), "{failed}");

    anna.leave(LIMIT).unwrap();
    let left = next_of(&mut follower, "left");
    assert_eq!((&left["session_id"], &left["room"]), (&joined["session_id"], &"room".into()));
    assert_eq!(left["reason"], "left");
    relay.stop();
    // It is over when the relay is, and that is no failure.
    while follower.next_line(Instant::now() + LIMIT).unwrap().is_some() {}
    assert!(follower.wait(LIMIT).unwrap().success());
}

#[test]
fn events_tell_what_is_dropped() {
    let relay = Loopback::in_environment(&[], &[("WZP_LIMITS__PACKETS_PER_SECOND", "5".as_ref())]);
    let mut follower = follower(&relay);
    let anna = talker(&relay, "anna");
    let dropped = next_of(&mut follower, "dropped");
    assert_eq!(dropped["reason"], "packet_rate", "{dropped}");
    assert!(dropped["packets"].as_u64().unwrap() > 0);
    anna.leave(LIMIT).unwrap();
    relay.stop();
}

#[test]
fn followers_are_few_and_go_on_when_others_have_had_their_time() {
    let relay = Loopback::new(&[]);
    let mut followers: Vec<_> = (0..FOLLOWERS).map(|_| follower(&relay)).collect();
    let sentence = refused(&relay.state_dir(), &["events"]);
    assert!(sentence.contains("8 follow already"), "{sentence}");
    let mut first = followers.remove(0);
    first.terminate().unwrap();
    first.wait(LIMIT).unwrap();
    wait("a free place", || {
        let mut command = Command::new("timeout");
        command.args(["1"]).arg(binaries::relay()).args(["ctl", "events", "--state-dir"]);
        let output = command.arg(relay.state_dir()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("following")
    });
    // The admin socket gives others ten seconds.
    std::thread::sleep(std::time::Duration::from_secs(11));
    done(&relay.state_dir(), &["log-level", "info"]);
    for follower in &mut followers {
        assert_eq!(next_of(follower, "changed")["action"], "log_level");
    }
    relay.stop();
}

#[test]
fn top_shows_how_sessions_fare() {
    let relay = Loopback::new(&[]);
    let (anna, ben) = (talker(&relay, "anna"), talker(&relay, "ben"));
    let rows = || -> Vec<Value> {
        let text = done(&relay.state_dir(), &["top", "--json", "--sort", "name"]);
        serde_json::from_str(&text).unwrap()
    };
    let all_talk = |rows: &[Value]| {
        let talks = |row: &Value| {
            let rate = |key: &str| row[key].as_f64().unwrap();
            rate("received_per_second") > 25.0 && rate("forwarded_per_second") > 25.0
        };
        rows.len() == 2 && rows.iter().all(talks)
    };
    wait("both to talk", || all_talk(&rows()));
    let names: Vec<_> = rows().iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names, ["anna", "ben"], "not in order");
    wait("what is measured", || {
        let known = ["rtt_ms", "jitter_ms", "loss_pct"];
        rows().iter().all(|row| known.iter().all(|key| row[*key].is_number()))
    });
    let table = done(&relay.state_dir(), &["top", "--once", "--most", "1"]);
    assert!(
        table.starts_with("2 sessions, ") && table.ends_with("and 1 more (--most)\n"),
        "{table}"
    );
    for column in ["ROOM", "LOSS IN %", "LOSS OUT %", "RTT ms", "JITTER ms", "IN frames/s"] {
        assert!(table.contains(column), "{column} is not in {table}");
    }

    // Without a terminal it goes on, too, and writes nothing that only one understands.
    let mut command = Command::new(binaries::relay());
    command.args(["ctl", "top", "--state-dir"]).arg(relay.state_dir()).stdin(Stdio::null());
    let top = Process::start("ctl top", command).unwrap();
    for _ in 0..2 {
        loop {
            let line = top.next_line(Instant::now() + LIMIT).unwrap().unwrap();
            assert!(!line.contains('\u{1b}'), "{line:?}");
            if line.starts_with("2 sessions, ") {
                break;
            }
        }
    }
    drop(top);
    anna.leave(LIMIT).unwrap();
    ben.leave(LIMIT).unwrap();
    relay.stop();
}

#[test]
fn status_tells_of_traffic_and_of_who_is_blocked() {
    let relay = Loopback::new(&["--ebpf", "off"]);
    let (anna, ben) = (talker(&relay, "anna"), talker(&relay, "ben"));
    let status = || -> Value {
        serde_json::from_str(&done(&relay.state_dir(), &["status", "--json"])).unwrap()
    };
    wait("traffic", || {
        let traffic = &status()["traffic"];
        let over = |key: &str, least: f64| traffic[key].as_f64().is_some_and(|rate| rate > least);
        over("received_packets_per_second", 20.0)
            && over("sent_bits_per_second", 1000.0)
            && over("forwarded_per_second", 20.0)
            && over("cpu_pct", 0.0)
    });
    let told = status();
    let level = told["log_level"].as_str().unwrap();
    assert!(level.split(',').any(|directive| directive == "info"), "{level}");
    assert_eq!(told["blocked"], Value::Array(vec![]));
    let expires = told["certificate_expires"].as_str().unwrap();
    assert!(expires.ends_with("T00:00:00Z"), "{expires}");
    assert_eq!(told["traffic"]["dropped_per_second"], 0.0);
    let screen = done(&relay.state_dir(), &["status"]);
    for line in
        ["receives ", "sends ", "forwards ", "cpu ", "loss ", "log level ", "blocked       nobody"]
    {
        assert!(screen.lines().any(|told| told.starts_with(line)), "{line:?} is not in {screen}");
    }
    assert!(screen.contains("2 in 1 room\n"), "{screen}");
    // Nothing counts in the kernel here, and so nothing blocks there.
    assert!(!ctl(&relay.state_dir(), &["block", "192.0.2.1"]).status.success());
    anna.leave(LIMIT).unwrap();
    ben.leave(LIMIT).unwrap();
    relay.stop();
}
