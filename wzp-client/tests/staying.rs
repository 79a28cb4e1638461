//! The client stays in its room, whatever becomes of its sessions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod firewall;
mod program;
mod relay;

use std::process::Command;
use std::time::{Duration, Instant};

use firewall::Stops;
use program::{client, command, error, loudest, mono16, sounding, stderr, summary};
use relay::{Client, Relay, left_properly, member, parrot, welcome};
use wzp_proto::close::CloseCode;
use wzp_proto::control::relay_message::Message;
use wzp_proto::control::{Draining, Resumed, Welcome};
use wzp_proto::media::MediaHeader;

/// Another one whose words come back for a second; then the relay closes.
async fn parrot_for_a_second(client: Client, code: CloseCode) {
    let connection = client.connection.clone();
    let _ = tokio::time::timeout(Duration::from_secs(1), parrot(client)).await;
    connection.close(quinn::VarInt::from_u32(code.wire()), b"that was all");
}

#[test]
fn a_lost_session_is_followed_by_another_with_one_recording() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("heard.wav");
    let relay = Relay::sessions(2, |session, client| async move {
        match session {
            0 => parrot_for_a_second(client, CloseCode::RelayFailed).await,
            _ => drop(parrot(client).await),
        }
    });
    let record = recording.to_str().unwrap();
    let arguments = ["--send-tone", "3", "--linger", "1", "--json", "--record", record];
    let output = client(&relay, &arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("that was all; joining again\n"), "{text}");
    assert!(text.contains("s again in room 'lobby' at 127.0.0.1:"), "{text}");

    let summary = summary(&output);
    assert_eq!(summary["end"], "sent");
    // One may have been on its way when nobody took it any more.
    assert!((148..=150).contains(&summary["frames_sent"].as_u64().unwrap()), "{summary}");
    let [interruption] = &summary["interruptions"].as_array().unwrap()[..] else {
        panic!("{summary}")
    };
    let away = interruption["seconds"].as_f64().unwrap();
    assert!((0.9..2.0).contains(&interruption["at_seconds"].as_f64().unwrap()), "{summary}");
    assert!(interruption["reason"].as_str().unwrap().contains("that was all"), "{summary}");
    let talkers = summary["talkers"].as_array().unwrap();
    assert_eq!(talkers.len(), 2, "the parrot of each session: {summary}");

    // The tone, silence for as long as nobody was there but for what fades away, the
    // rest of the tone.
    let samples = mono16(&std::fs::read(&recording).unwrap());
    let samples = sounding(&samples);
    let length = samples.len() as f64 / 48_000.0;
    assert!((-0.4..1.4).contains(&(length - 3.0 - away)), "{length} s with {away} s away");
    let silent = samples.chunks(960).filter(|tick| loudest(tick) < 100).count();
    let gap = silent as f64 / 50.0;
    assert!((gap - away).abs() < 0.3, "{gap} s of silence with {away} s away");
    assert!(
        loudest(&samples[..40_000]) > 1000 && loudest(&samples[samples.len() - 80_000..]) > 1000
    );
}

#[test]
fn the_sender_id_of_the_new_session_is_used() {
    let relay = Relay::sessions(2, |session, mut client: Client| async move {
        let sender_id = [7, 300][session];
        client.welcome(Welcome { sender_id, ..welcome() }).await;
        let mut ids = Vec::new();
        while let Ok(datagram) = client.connection.read_datagram().await {
            ids.push(u32::from(MediaHeader::decode(&datagram).unwrap().0.sender_id));
            if session == 0 && ids.len() == 10 {
                client.close(CloseCode::Unresponsive, "you did not answer");
            }
        }
        ids.iter().all(|id| *id == sender_id) && ids.len() >= 10
    });
    let output = client(&relay, &["--send-tone", "1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["sender_id"], 300);
    assert!(relay.outcome() && relay.outcome());
}

#[test]
fn what_must_not_be_tried_again_ends_with_its_code() {
    let cases = [
        (CloseCode::Kicked, 10),
        (CloseCode::BadToken, 9),
        (CloseCode::NotAllowed, 9),
        (CloseCode::TokenExpired, 9),
        (CloseCode::Malformed, 6),
        (CloseCode::TooManyMessages, 6),
        (CloseCode::Done, 6),
    ];
    for (code, exit) in cases {
        let relay = Relay::sessions(2, move |_, mut client: Client| async move {
            client.welcome(welcome()).await;
            client.connection.read_datagram().await.unwrap();
            client.close(code, "this is the end");
        });
        let begun = Instant::now();
        let output = client(&relay, &["--send-tone", "60", "--json"]);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(exit), "{message}");
        assert!(message.contains("this is the end"), "{message}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{message}");
        assert_eq!(summary(&output)["interruptions"].as_array().unwrap().len(), 0);
        relay.outcome();
        assert!(relay.outcome.try_recv().is_err(), "{} was tried again", code.name());
    }
}

#[test]
fn scripts_may_ask_for_the_first_loss_to_be_the_end() {
    for (code, exit) in [(CloseCode::RelayFailed, 6), (CloseCode::Replaced, 11)] {
        let relay = Relay::sessions(2, move |_, mut client: Client| async move {
            client.enter().await;
            client.close(code, "this is the end");
        });
        let output = client(&relay, &["--no-reconnect", "--json"]);
        assert_eq!(output.status.code(), Some(exit), "{}", error(&output));
        assert_eq!(summary(&output)["end"], "lost");
    }
}

#[test]
fn nobody_tries_for_ever() {
    let relay = Relay::sessions(1000, |session, mut client: Client| async move {
        match session {
            0 => {
                client.enter().await;
                client.close(CloseCode::GoingAway, "the relay stops");
            }
            _ => client.close(CloseCode::Draining, "nobody is taken in"),
        }
    });
    let begun = Instant::now();
    let output = client(&relay, &["--reconnect-for", "2.5", "--json"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains("the relay stops; in vain tried to join again for 2 s"), "{message}");
    assert!(message.contains("nobody is taken in"), "{message}");
    assert!(begun.elapsed() >= Duration::from_millis(2500));
    assert_eq!(summary(&output)["end"], "lost");
    let attempts = relay.outcome.try_iter().count();
    assert!((2..=5).contains(&attempts), "{attempts} attempts");
}

#[test]
fn a_new_token_is_fetched_when_the_old_one_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let renewed = file.clone();
    let relay = Relay::sessions(2, move |session, mut client: Client| {
        let renewed = renewed.clone();
        async move {
            client.enter().await;
            if session == 0 {
                std::fs::write(renewed, "new").unwrap();
                client.close(CloseCode::TokenExpired, "its time is over");
            } else {
                client.close(CloseCode::Kicked, &format!("seen {}", client.hello.token));
            }
        }
    });
    let output = client(&relay, &["--token-file", file.to_str().unwrap()]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(10), "{message}");
    assert!(message.contains("seen new"), "{message}");
}

#[test]
fn a_draining_relay_is_left_for_another_in_mid_speech() {
    let first = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.connection.read_datagram().await.unwrap();
        client.send(Message::Draining(Draining { deadline_ms: 30_000 })).await;
        client.datagrams().await.1
    });
    let second = Relay::start(|mut client: Client| async move {
        client.welcome_among(vec![member(1, "Ann")]).await;
        client.datagrams().await
    });
    let output = command(&first, &["--send-tone", "4", "--json"])
        .args(["--pin", &second.fingerprint, &second.address.to_string()])
        .output()
        .unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("the relay is going to stop within 30.0 s; joining another"), "{text}");
    let again = format!("again in room 'lobby' at {} as member 7: Ann (1)", second.address);
    assert!(text.contains(&again), "{text}");
    let summary = summary(&output);
    assert_eq!((&summary["end"], &summary["frames_sent"]), (&"sent".into(), &200.into()));
    assert_eq!(summary["interruptions"][0]["seconds"], 0.0, "{summary}");
    assert_eq!(summary["relay"], second.address.to_string());
    assert!(left_properly(&first.outcome()));
    let (datagrams, end) = second.outcome();
    assert!(left_properly(&end));
    assert!(datagrams.len() > 50, "{}", datagrams.len());
}

#[test]
fn a_relay_that_goes_on_after_all_is_not_left_for_another() {
    let first = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.send(Message::Draining(Draining { deadline_ms: 60_000 })).await;
        client.send(Message::Resumed(Resumed {})).await;
        client.datagrams().await.1
    });
    let output = command(&first, &["--send-tone", "2", "--json"]).arg("127.0.0.1:9").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["interruptions"].as_array().unwrap().len(), 0);
    assert!(left_properly(&first.outcome()));
}

/// A closed port is told by the network, and the next relay is asked at once.
#[test]
fn relays_that_are_not_there_are_passed_over() {
    let closed = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().to_string()
    };
    let full = Relay::start(|client: Client| async move {
        client.close(CloseCode::ServerFull, "the relay is full");
    });
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.connection.closed().await
    });
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_wzp-client"))
        .args(["--room", "lobby", "--duration", "0", "--json"])
        .args(["--pin", &full.fingerprint, "--pin", &relay.fingerprint])
        .args([&closed, &full.address.to_string(), &relay.address.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["relay"], relay.address.to_string());
    assert!(left_properly(&relay.outcome()));
    assert!(begun.elapsed() < Duration::from_secs(2), "nobody waited: {:?}", begun.elapsed());
}

/// Neither it nor anything on the way says that it is gone.
#[test]
fn a_relay_that_falls_silent_is_left_soon_and_the_gap_counts_from_its_last_packet() {
    let relay = Relay::sessions(2, |session, mut client: Client| async move {
        client.enter().await;
        match session {
            // The session lives on where nobody hears of it.
            0 => std::mem::forget(client),
            _ => drop(client.connection.closed().await),
        }
    });
    let cut = Duration::from_secs(1);
    let front = firewall::in_front_of(relay.address, Stops::Both, cut);
    let output = Command::new(env!("CARGO_BIN_EXE_wzp-client"))
        .args(["--room", "lobby", "--json", "--pin", &relay.fingerprint, &front.to_string()])
        .args(["--lost-after", "3", "--duration", "10"])
        .output()
        .unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(": nothing has come from the relay for "), "{text}");
    let summary = summary(&output);
    let [interruption] = &summary["interruptions"].as_array().unwrap()[..] else {
        panic!("{summary}: {text}")
    };
    assert!(interruption["at_seconds"].as_f64().unwrap() < 3.0, "{summary}");
    assert!(interruption["seconds"].as_f64().unwrap() >= 3.0, "{summary}");
}

/// A client asks before it takes a room in which nobody talks for one that is gone.
#[test]
fn a_relay_that_has_nothing_to_say_is_not_left() {
    let relay = Relay::start(|mut client: Client| async move {
        client.enter().await;
        client.connection.closed().await
    });
    let output = client(&relay, &["--lost-after", "2", "--duration", "8", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["interruptions"].as_array().unwrap().len(), 0);
    assert!(left_properly(&relay.outcome()));
}
