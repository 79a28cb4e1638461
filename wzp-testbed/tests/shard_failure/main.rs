//! A shard of a real relay fails: its clients are told, come back within seconds and
//! meet those who stayed; nobody else's call loses a frame.
//!
//! The relay under test is a debug build: release builds cannot be made to fail.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod member;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use wzp_proto::close::CloseCode;
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;

use member::{Member, Place};

const LIMIT: Duration = Duration::from_secs(60);

/// Nobody is left when a test ends, but not everybody says so.
const TWO_SHARDS: [&str; 4] = ["--shards", "2", "--drain-timeout", "1s"];

fn fail(loopback: &Loopback, shard: usize) {
    let answer = loopback.ask_admin("POST", &format!("/debug/shards/{shard}/fail"));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn value(loopback: &Loopback, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    loopback.relay().scrape().unwrap().sum(name, labels)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Each heard every frame of each of the others.
async fn assert_heard_all(members: &[&Member]) {
    for listener in members {
        for talker in members.iter().filter(|talker| talker.number != listener.number) {
            let what = format!("frames of {} at {}", talker.number, listener.number);
            until(&what, || listener.heard_of(talker.number) == talker.sent()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fails_costs_the_others_no_frame_and_its_clients_come_back() {
    let audit = [("WZP_AUDIT__ENABLED", Path::new("true"))];
    let loopback = Loopback::in_environment(&TWO_SHARDS, &audit);
    let place = Place::at(&loopback);
    let mut apart = Vec::new();
    for _ in 0..2 {
        apart.push(place.join_on(&loopback, 0, "apart").await);
    }
    // Rooms on both shards, whose homes are on either.
    let mut across = Vec::new();
    for room in ["across 0", "across 1", "across 2", "across 3"] {
        for shard in [0, 0, 1] {
            across.push(place.join_on(&loopback, shard, room).await);
        }
    }
    let (stay, mut lost): (Vec<_>, Vec<_>) =
        across.into_iter().partition(|member| member.shard == 0);
    for _ in 0..2 {
        lost.push(place.join_on(&loopback, 1, "lost").await);
    }
    let everyone = || apart.iter().chain(&stay).chain(&lost);
    everyone().for_each(Member::talk);
    until("frames", || everyone().all(|member| member.sent() > 25)).await;

    let failed = Instant::now();
    fail(&loopback, 1);
    until("all to be back", || lost.iter().all(|member| member.joins() == 2)).await;
    println!("all were back after {:?}", failed.elapsed());
    for member in &lost {
        let [(code, sentence)] = &member.closes()[..] else { panic!("{:?}", member.closes()) };
        assert_eq!(*code, CloseCode::RelayFailed);
        assert!(sentence.ends_with("join again"), "{sentence}");
    }
    // In the same room as before they meet who stayed, and are heard again.
    for back in lost.iter().filter(|member| member.room != "lost") {
        for stayed in stay.iter().filter(|member| member.room == back.room) {
            until("old members", || back.knows(stayed.number) && stayed.knows(back.number)).await;
            let heard = [back.heard_of(stayed.number), stayed.heard_of(back.number)];
            until("voices", || {
                back.heard_of(stayed.number) > heard[0] + 20
                    && stayed.heard_of(back.number) > heard[1] + 20
            })
            .await;
        }
    }

    everyone().for_each(Member::be_silent);
    assert_heard_all(&[&apart[0], &apart[1]]).await;
    for pair in stay.chunks(2) {
        assert_heard_all(&[&pair[0], &pair[1]]).await;
    }
    for member in apart.iter().chain(&stay) {
        assert_eq!((member.joins(), member.closes()), (1, vec![]), "{}", member.room);
    }
    assert_it_is_told(&loopback, lost.len(), apart.len() + stay.len() + lost.len());
    drop((apart, stay, lost));
    loopback.stop();
}

/// Metrics, health, log and audit log have it.
fn assert_it_is_told(loopback: &Loopback, lost: usize, there: usize) {
    let failures = |shard| value(loopback, "wzp_relay_shard_failures_total", &[("shard", shard)]);
    assert_eq!((failures("0"), failures("1")), (Some(0.0), Some(1.0)));
    let labels = [("reason", "relay_failed")];
    let closed = value(loopback, "wzp_relay_connections_closed_total", &labels);
    assert_eq!(closed, Some(lost as f64));
    let panics = |part| value(loopback, "wzp_relay_panics_total", &[("part", part)]);
    assert_eq!((panics("shard"), panics("control")), (Some(1.0), Some(0.0)));
    assert_eq!(value(loopback, "wzp_relay_active_sessions", &[]), Some(there as f64));
    assert_eq!(value(loopback, "wzp_relay_active_rooms", &[]), Some(6.0));

    let health = loopback.relay().get("/health").unwrap();
    assert_eq!(health.status, 200, "{}", health.body);
    let body: Value = serde_json::from_str(&health.body).unwrap();
    assert_eq!((&body["status"], &body["checks"]["shards"]), (&"degraded".into(), &"ok".into()));
    let panics = body["checks"]["panics"].as_str().unwrap();
    assert!(panics.starts_with("the thread shard-1 failed "), "{panics}");
    assert_eq!(loopback.relay().get("/ready").unwrap().status, 200);

    let line = loopback.relay().logged("a thread panicked").unwrap();
    for part in
        ["ERROR", "thread=\"shard-1\"", "place=\"wzp-sfu/src/shard/dispatch.rs:", "a test wants"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    loopback.relay().logged("a shard failed; it begins again").unwrap();
    let audit = std::fs::read_to_string(loopback.state_dir().join("audit.log")).unwrap();
    let records = |text: &str| audit.lines().filter(|line| line.contains(text)).count();
    assert_eq!((records("shard_failed"), records("\"relay_failed\"")), (1, lost));
}

/// What makes a shard fail comes again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fails_again_and_again_costs_the_others_nothing() {
    const TIMES: u32 = 15;
    let loopback = Loopback::new(&TWO_SHARDS);
    let place = Place::at(&loopback);
    let pair =
        [place.join_on(&loopback, 0, "apart").await, place.join_on(&loopback, 0, "apart").await];
    pair.iter().for_each(Member::talk);
    for time in 1..=TIMES {
        fail(&loopback, 1);
        until("the failure", || {
            let labels = [("shard", "1")];
            value(&loopback, "wzp_relay_shard_failures_total", &labels) == Some(time.into())
        })
        .await;
    }
    // One shard of two: those on the other would lose their calls by a restart.
    assert_eq!(loopback.relay().get("/health").unwrap().status, 200);
    let back = place.join_on(&loopback, 1, "apart").await;
    until("voices", || back.heard_of(pair[0].number) > 20).await;
    pair.iter().for_each(Member::be_silent);
    assert_heard_all(&[&pair[0], &pair[1]]).await;
    assert!(pair.iter().all(|member| member.joins() == 1));
    drop((pair, back));
    loopback.stop();
}

#[test]
fn with_all_shards_failing_a_restart_is_advised() {
    let loopback = Loopback::new(&["--shards", "1"]);
    for _ in 0..11 {
        fail(&loopback, 0);
    }
    let deadline = Instant::now() + LIMIT;
    let health = loop {
        let health = loopback.relay().get("/health").unwrap();
        if health.status == 503 {
            break health;
        }
        assert!(Instant::now() < deadline, "{}", health.body);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(health.body.contains("all shards fail again and again"), "{}", health.body);
    loopback.stop();
}

#[test]
fn the_client_says_what_happened() {
    let loopback = Loopback::new(&["--shards", "1"]);
    let anna =
        Client::start(&loopback.client("lobby", "anna"), &["--no-reconnect", "--duration", "60"])
            .unwrap();
    let deadline = Instant::now() + LIMIT;
    while value(&loopback, "wzp_relay_active_sessions", &[]) != Some(1.0) {
        assert!(Instant::now() < deadline, "anna does not join");
        std::thread::sleep(Duration::from_millis(20));
    }
    fail(&loopback, 0);
    let error = anna.fail(LIMIT).unwrap();
    assert!(error.contains("relay_failed") && error.contains("join again"), "{error}");
    loopback.stop();
}
