//! From some time on nothing that the client sends arrives, while the relay is still heard.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod firewall;
mod program;
mod relay;

use std::process::{Command, Output};
use std::time::Duration;

use firewall::Stops;
use program::{error, stderr, summary};
use relay::{Client, Relay, member, welcome};
use wzp_proto::media::{AudioLevel, MediaHeader, Profile};

/// When the firewall begins to drop what the client sends.
const CUT: Duration = Duration::from_secs(2);

/// A room in which somebody talks to the client for as long as it is there, or the relay
/// has not heard of it for 20 seconds. Returns how many datagrams came.
async fn company(mut client: Client) -> usize {
    const POLLY: u16 = 9;
    client.welcome_among(vec![member(POLLY.into(), "Polly")]).await;
    let connection = client.connection.clone();
    let talk = async {
        for sequence in 0.. {
            let header = MediaHeader {
                profile: Profile::Good,
                level: AudioLevel::SILENCE,
                sender_id: POLLY,
                sequence,
                timestamp: 24_000_u32.wrapping_mul(sequence),
            };
            let frame = [&header.encode()[..], b"\xf8"].concat();
            let _ = connection.send_datagram(frame.into());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        (datagrams, _) = client.datagrams() => datagrams.len(),
        () = talk => 0,
    }
}

/// The client behind the firewall.
fn cut_off(relay: &Relay<usize>, arguments: &[&str]) -> Output {
    let address = firewall::in_front_of(relay.address, Stops::OneDirection, CUT);
    Command::new(env!("CARGO_BIN_EXE_wzp-client"))
        .args(["--room", "lobby", "--json", "--pin", &relay.fingerprint, &address.to_string()])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_talker_that_is_not_heard_any_more_joins_again() {
    let relay = Relay::sessions(2, |_, client| company(client));
    let output = cut_off(&relay, &["--send-tone", "26"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let summary = summary(&output);
    let [interruption] = &summary["interruptions"].as_array().unwrap()[..] else {
        panic!("{summary}: {text}")
    };
    let seconds = |key: &str| interruption[key].as_f64().unwrap();
    assert!((21.0..25.0).contains(&seconds("at_seconds")), "{summary}");
    assert!((18.0..23.0).contains(&seconds("unacknowledged_seconds")), "{summary}");
    let reason = interruption["reason"].as_str().unwrap();
    assert!(reason.contains("has acknowledged nothing that was sent in the last 2"), "{reason}");
    assert!(summary["unacknowledged_seconds"].as_f64().unwrap() < 1.0, "{summary}");
    let (before, after) = (relay.outcome(), relay.outcome());
    assert!((50..150).contains(&before) && after > 50, "{before}, {after}");
}

#[test]
fn a_listener_that_is_not_heard_any_more_is_lost() {
    let relay = Relay::start(company);
    let output = cut_off(&relay, &["--no-reconnect", "--duration", "60"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    let summary = summary(&output);
    assert_eq!(summary["end"], "lost", "{summary}");
    assert!((21.0..28.0).contains(&summary["seconds"].as_f64().unwrap()), "{summary}");
}

#[test]
fn last_words_that_do_not_arrive_are_told() {
    let relay = Relay::start(company);
    let output = cut_off(&relay, &["--send-tone", "6"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains("has acknowledged nothing"), "{message}");
    let summary = summary(&output);
    assert_eq!((&summary["end"], &summary["frames_sent"]), (&"lost".into(), &300.into()));
    let unacknowledged = summary["unacknowledged_seconds"].as_f64().unwrap();
    assert!((4.0..7.0).contains(&unacknowledged), "{summary}");
}

/// A call that ends well has nothing of the kind in its summary.
#[test]
fn what_arrives_is_not_doubted() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.datagrams().await.0.len()
    });
    let output = Command::new(env!("CARGO_BIN_EXE_wzp-client"))
        .args(["--room", "lobby", "--json", "--pin", &relay.fingerprint])
        .args(["--send-tone", "5", "--linger", "0", &relay.address.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = summary(&output);
    assert!(summary["unacknowledged_seconds"].as_f64().unwrap() <= 1.0, "{summary}");
}
