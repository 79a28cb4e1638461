//! Many real QUIC connections to one real relay: half-open floods, members
//! that stop reading, and rooms that come and go by the hundred.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

#[path = "../frame/mod.rs"]
mod frame;
mod voice;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::Endpoint;
use voice::{Crowd, Voice};
use wzp_testbed::loopback::Loopback;
use wzp_testbed::metrics::Scrape;

const FRAME: Duration = Duration::from_millis(20);

/// A relay with this configuration on a free port.
fn relay(limits: &str) -> Loopback {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, format!("metrics.keep_ended = \"1s\"\n[limits]\n{limits}\n")).unwrap();
    Loopback::new(&["--shards", "2", "--config", path.to_str().unwrap()])
}

fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> u64 {
    scrape.sum(name, labels).unwrap_or(0.0) as u64
}

/// Scrapes until the condition holds; the last scrape.
async fn until(relay: &Loopback, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let scrape = relay.relay().scrape().unwrap();
        if holds(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {scrape:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Three people talk while `disturb` goes on; none may miss a frame.
async fn undisturbed<T>(crowd: &Arc<Crowd>, disturb: impl Future<Output = T>) -> T {
    let mut call = Vec::new();
    for _ in 0..3 {
        call.push(Voice::join(crowd, "call").await.unwrap());
    }
    let talking: Vec<_> = call.into_iter().map(|voice| tokio::spawn(voice.talk())).collect();
    let result = disturb.await;
    crowd.hush();
    let mut talked = Vec::new();
    for voice in talking {
        talked.push(voice.await.unwrap());
    }
    for listener in &talked {
        for talker in talked.iter().filter(|talker| talker.sender_id != listener.sender_id) {
            let heard = listener.heard.get(&talker.sender_id).map_or(0, |frames| frames.len());
            // Frames sent before the listener was there do not count.
            let first = listener.heard.get(&talker.sender_id).and_then(|frames| frames.first());
            let due = talker.sent - first.copied().unwrap_or(0);
            assert_eq!(heard as u32, due, "from {} at {}", talker.sender_id, listener.sender_id);
            assert!(due > 50, "a call long enough to mean something: {due} frames");
        }
    }
    result
}

#[tokio::test]
async fn two_thousand_half_open_connections_cost_a_call_no_frame() {
    let relay = relay("sessions_per_address = 100\nhandshakes = 8000\nhello_timeout = '3s'");
    let crowd = Crowd::new(&relay, FRAME);
    let resident_before = relay.relay().resident_bytes().unwrap();
    let (scrape, resident, refused) = undisturbed(&crowd, async {
        let mut kept = Vec::new();
        let mut refused = 0;
        // 20 addresses with 110 connections each, of which 100 are allowed.
        for host in 0..20 {
            let local = ([127, 0, 1, host], 0).into();
            let endpoint = Endpoint::client(local).unwrap();
            for _ in 0..11 {
                let dials: Vec<_> =
                    (0..10).map(|_| tokio::spawn(crowd.clone().dial(endpoint.clone()))).collect();
                for dial in dials {
                    match dial.await.unwrap() {
                        Ok(connection) => kept.push(connection),
                        Err(error) => {
                            assert!(error.to_string().contains("takes no connection"), "{error}");
                            refused += 1;
                        }
                    }
                }
            }
        }
        let scrape = relay.relay().scrape().unwrap();
        let resident = relay.relay().resident_bytes().unwrap();
        until(&relay, "the deadline", |scrape| {
            value(scrape, "wzp_relay_pending_connections", &[]) == 0
        })
        .await;
        drop(kept);
        (scrape, resident, refused)
    })
    .await;
    let pending = value(&scrape, "wzp_relay_pending_connections", &[]);
    assert!(pending > 100, "{pending} were half open at once");
    let end = until(&relay, "the call's end", |scrape| {
        value(scrape, "wzp_relay_active_sessions", &[]) == 0
    })
    .await;
    let by_reason =
        |reason| value(&end, "wzp_relay_connections_closed_total", &[("reason", reason)]);
    let over_limit = value(&end, "wzp_relay_connections_refused_total", &[("reason", "address")]);
    println!(
        "{} half-open connections gone by the deadline, {over_limit} refused; {pending} at once \
         took {} KiB each",
        by_reason("hello_timeout"),
        (resident - resident_before) / 1024 / pending,
    );
    assert_eq!(over_limit, refused);
    assert_eq!(by_reason("hello_timeout") + refused, 2200);
    assert!(by_reason("hello_timeout") >= 2000);
    assert_eq!(value(&end, "wzp_relay_udp_send_errors_total", &[]), 0);
    relay.stop();
}

/// 129 members hear five talkers; the 130th stops reading everything.
#[tokio::test]
async fn member_that_stops_reading_is_dropped_and_the_others_notice_nothing() {
    let relay = relay("ping_interval = '1s'\nping_timeout = '3s'");
    let crowd = Crowd::new(&relay, FRAME);
    // It answers as QUIC does and its program reads neither stream nor media.
    let stuck = Voice::join(&crowd, "hall").await.unwrap();
    let mut members = Vec::new();
    for _ in 0..129 {
        members.push(Voice::join(&crowd, "hall").await.unwrap());
    }
    let tasks: Vec<_> = members
        .into_iter()
        .enumerate()
        .map(|(number, voice)| match number {
            0..5 => tokio::spawn(voice.talk()),
            _ => tokio::spawn(voice.listen()),
        })
        .collect();
    let scrape = until(&relay, "the stuck member's end", |scrape| {
        value(scrape, "wzp_relay_connections_closed_total", &[("reason", "unresponsive")]) == 1
    })
    .await;
    assert_eq!(value(&scrape, "wzp_relay_active_sessions", &[]), 129);
    tokio::time::sleep(Duration::from_millis(500)).await;
    crowd.hush();
    let mut heard = Vec::new();
    for task in tasks {
        heard.push(task.await.unwrap());
    }
    for listener in &heard {
        for talker in heard.iter().take(5).filter(|talker| talker.sender_id != listener.sender_id) {
            let frames = &listener.heard[&talker.sender_id];
            assert_eq!(frames.len() as u32, talker.sent, "at {}", listener.sender_id);
        }
    }
    drop(stuck);
    relay.stop();
}

/// 500 rooms of 4 whose members come and go at random while they talk.
#[tokio::test]
async fn five_hundred_rooms_leave_nothing_behind() {
    let relay = relay(
        "sessions_per_address = 5000\nhandshakes = 5000\n\
         handshake_timeout = '30s'\nhello_timeout = '30s'",
    );
    // Up to 2000 talkers, 8,000 frames in and 24,000 out a second, beside 330
    // joins a second: as much as one thread of clients can bear.
    let crowd = Crowd::new(&relay, Duration::from_millis(250));
    let mut resident = Vec::new();
    for round in 0..4u64 {
        let members: Vec<_> = (0..2000)
            .map(|member| {
                let crowd = crowd.clone();
                tokio::spawn(async move {
                    let room = format!("room {}", member % 500);
                    Voice::visit(&crowd, &room, round * 2000 + member).await
                })
            })
            .collect();
        let mut frames = 0;
        for member in members {
            frames += member.await.unwrap();
        }
        let scrape = until(&relay, "everybody's departure", |scrape| {
            // Rooms go a moment after their last members.
            value(scrape, "wzp_relay_active_sessions", &[]) == 0
                && value(scrape, "wzp_relay_active_rooms", &[]) == 0
        })
        .await;
        assert_eq!(value(&scrape, "wzp_relay_pending_connections", &[]), 0);
        assert_eq!(value(&scrape, "wzp_relay_sessions_joined_total", &[]), (round + 1) * 2000);
        // Closed connections linger for three probe time-outs.
        tokio::time::sleep(Duration::from_secs(2)).await;
        resident.push(relay.relay().resident_bytes().unwrap());
        println!(
            "round {round}: {frames} frames heard, {} KiB resident",
            resident[round as usize] / 1024
        );
        assert!(frames > 10_000, "{frames} frames are no load");
    }
    // The allocator takes its last step in the second or third round; over ten
    // more it stood still. 3 KiB that each session left behind would show.
    assert!(
        resident[3] <= resident[2] + resident[2] / 10,
        "memory grows from round to round: {resident:?}"
    );
    let series = until(&relay, "the rooms' series to go", |scrape| {
        scrape.sum("wzp_relay_packets_forwarded_total", &[]).is_none()
    })
    .await;
    let total = value(&series, "wzp_relay_media_packets_forwarded_total", &[]);
    assert!(total > 0, "the total stays");
    relay.stop();
}
