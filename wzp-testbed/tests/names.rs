//! Rooms may have any name of 1 to 128 bytes of UTF-8, and no other.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::time::Duration;

use wzp_proto::close::CloseCode;
use wzp_proto::control::{Hello, Role};
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_transport::address::RelayAddress;
use wzp_transport::join::{Ended, JoinError, client_config, join};
use wzp_transport::trust::Trust;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn rooms_of_any_script_work_and_are_told_apart() {
    let loopback = Loopback::new(&[]);
    let longest = "ж".repeat(64);
    assert_eq!(longest.len(), 128);
    let rooms =
        ["a room with spaces", "Комната", "🎙️ voice 👩‍🚀", "\"quotes\" \\ {braces},", &longest];
    let pairs: Vec<_> = rooms
        .iter()
        .map(|room| {
            ["one", "two"].map(|name| {
                let arguments = ["--send-tone", "1", "--wait-for", "1", "--linger", "1"];
                Client::start(&loopback.client(room, name), &arguments).unwrap()
            })
        })
        .collect();
    for (room, clients) in rooms.iter().zip(pairs) {
        for client in clients {
            let summary = client.finish(LIMIT).unwrap();
            // All rooms are there at once: only the own one is heard.
            let [talker] = &summary.talkers[..] else { panic!("{room}: {summary:?}") };
            assert_eq!((talker.received, summary.frames_received), (50, 50), "{room}");
        }
    }
    loopback.stop();
}

#[test]
fn the_client_refuses_129_bytes_with_a_sentence() {
    let loopback = Loopback::new(&[]);
    for (room, words) in [("r".repeat(129), "129 bytes"), (String::new(), "empty")] {
        let client = Client::start(&loopback.client(&room, "anna"), &["--duration", "1"]).unwrap();
        let error = client.fail(LIMIT).unwrap();
        assert!(error.contains(words) && error.contains("128"), "{error}");
    }
    loopback.stop();
}

#[tokio::test]
async fn the_relay_refuses_129_bytes_with_a_sentence() {
    let loopback = Loopback::new(&[]);
    let address: RelayAddress = loopback.relay().listen().to_string().parse().unwrap();
    let trust = Trust::Pinned(loopback.relay().fingerprint().parse().unwrap());
    for (room, words) in [("r".repeat(129), "129 bytes"), (String::new(), "empty")] {
        let hello = Hello { role: Role::Participant.into(), room, ..Hello::default() };
        let config = client_config(trust.clone()).unwrap();
        match join(std::slice::from_ref(&address), &config, hello).await {
            Err(JoinError::Ended(Ended::Closed { code: CloseCode::Malformed, reason })) => {
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("expected a refusal, not {other:?}"),
        }
    }
    loopback.stop();
}
