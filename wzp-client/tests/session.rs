//! The client against a relay that does as each test tells it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod program;
mod relay;

use std::process::Command;
use std::time::{Duration, Instant};

use program::{client, error, loudest, mono16, sounding, spawn, stderr, summary};
use relay::{Client, PATIENCE, Relay, SENDER_ID, left_properly, member, parrot, welcome};
use serde_json::Value;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    Draining, Members, Notice, Ping, Resumed, RoomChanged, SenderFeedback, Welcome, client_message,
    relay_message::Message,
};
use wzp_proto::media::{CLOCK_HZ, MediaHeader};

fn joined(room_version: u64, sender_id: u32, name: &str) -> Message {
    let joined = vec![member(sender_id, name)];
    Message::RoomChanged(RoomChanged { room_version, joined, ..RoomChanged::default() })
}

#[test]
fn only_the_pinned_or_a_trusted_identity_is_accepted() {
    let other = "00".repeat(32);
    for trust in [&["--pin", &other][..], &[]] {
        let relay = Relay::start(|_| async {});
        let output = Command::new(env!("CARGO_BIN_EXE_wzp-client"))
            .args(["--room", "lobby", &relay.address.to_string()])
            .args(trust)
            .output()
            .unwrap();
        let message = error(&output);
        assert_eq!(output.status.code(), Some(4), "{message}");
        assert!(message.contains("--pin"), "{message}");
    }
}

#[test]
fn insecure_is_never_silent() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.connection.closed().await
    });
    let address = relay.address.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_wzp-client"))
        .args(["--room", "lobby", "--insecure", "--quiet", "--duration", "0", &address])
        .output()
        .unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("warning: ") && text.lines().count() == 1, "{text}");
    assert!(left_properly(&relay.outcome.recv_timeout(PATIENCE).unwrap()));
}

#[test]
fn refusals_are_told_in_the_relays_words() {
    let codes =
        [CloseCode::RoomFull, CloseCode::ServerFull, CloseCode::Draining, CloseCode::Malformed];
    for code in codes {
        let relay = Relay::start(move |client: Client| async move {
            client.close(code, "no place\x1b[2J for you here");
        });
        let output = client(&relay, &["--json"]);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(5), "{message}");
        assert!(message.contains(code.name()), "{message}");
        assert!(message.contains(r"no place\u{1b}[2J for you here"), "{message}");
        assert!(output.stdout.is_empty(), "no session, no summary");
    }
}

#[test]
fn tokens_are_shown_to_the_relay_and_their_refusals_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "secret\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], CloseCode, i32); 4] = [
        (&["--token", "secret"], CloseCode::BadToken, 9),
        (&["--token-file", file], CloseCode::NotAllowed, 9),
        (&["--token", "other", "--token-file", file], CloseCode::TokenExpired, 9),
        (&["--token", "secret"], CloseCode::AuthUnavailable, 5),
    ];
    for (arguments, code, exit) in cases {
        let relay = Relay::start(move |client: Client| async move {
            let sentence = client.hello.token.clone() + " seen";
            client.close(code, &sentence);
        });
        let output = client(&relay, arguments);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(exit), "{message}");
        assert!(message.contains(code.name()) && message.contains("secret seen"), "{message}");
    }
}

#[test]
fn a_token_that_expires_in_the_middle_has_the_exit_code_of_tokens() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.connection.read_datagram().await.unwrap();
        client.close(CloseCode::TokenExpired, "its time is over");
    });
    let output = client(&relay, &["--send-tone", "60", "--json"]);
    assert_eq!(output.status.code(), Some(9), "{}", error(&output));
    assert_eq!(summary(&output)["end"], "lost");
}

#[test]
fn session_lost_in_the_middle_is_told_with_its_summary() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        for _ in 0..10 {
            client.connection.read_datagram().await.unwrap();
        }
        client.close(CloseCode::Unresponsive, "you did not answer");
    });
    let output = client(&relay, &["--send-tone", "60", "--json", "--no-reconnect"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains("you did not answer"), "{message}");
    let summary = summary(&output);
    assert_eq!(summary["end"], "lost");
    assert!(summary["frames_sent"].as_u64().unwrap() >= 10, "{summary}");
}

/// Bytes of a message that ends in the middle of a field.
const GARBAGE: &[u8] = &[5, 0xff, 0xff, 0xff, 0xff, 0xff];
/// A length above every limit.
const ENDLESS: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x0f];

#[test]
fn relays_that_break_the_protocol_get_an_error_not_a_panic() {
    type Breach = fn() -> (Option<Welcome>, Vec<u8>);
    let cases: [(&str, Breach, i32); 13] = [
        ("garbage for Welcome", || (None, GARBAGE.into()), 3),
        ("endless Welcome", || (None, ENDLESS.into()), 3),
        ("Ping for Welcome", || (None, encode(Message::Ping(Ping { number: 1 }))), 3),
        ("sender id 0", || (Some(Welcome { sender_id: 0, ..welcome() }), vec![]), 3),
        ("sender id of 17 bits", || (Some(Welcome { sender_id: 65_536, ..welcome() }), vec![]), 3),
        ("garbage after Welcome", || (Some(welcome()), GARBAGE.into()), 6),
        ("endless message", || (Some(welcome()), ENDLESS.into()), 6),
        ("a room of 65,536", || (Some(Welcome { member_count: 65_536, ..welcome() }), vec![]), 3),
        ("no list", || (Some(Welcome { member_count: 1, ..welcome() }), list(&[])), 3),
        (
            "change within the list",
            || {
                (Some(Welcome { member_count: 2, ..welcome() }), {
                    [list(&[1]), encode(joined(2, 2, "Bob"))].concat()
                })
            },
            3,
        ),
        ("too long a list", || (Some(Welcome { member_count: 1, ..welcome() }), list(&[1, 2])), 3),
        ("a second list", || (Some(welcome()), list(&[1])), 6),
        ("member without an id", || (Some(welcome()), encode(joined(2, 0, "nobody"))), 6),
    ];
    for (name, breach, code) in cases {
        let relay = Relay::start(move |mut client: Client| async move {
            let (welcome, bytes) = breach();
            if let Some(welcome) = welcome {
                client.welcome(welcome).await;
            }
            client.send_raw(&bytes).await;
            client.connection.closed().await;
        });
        let output = client(&relay, &["--duration", "20"]);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {message}");
        assert!(message.contains("broke the protocol"), "{name}: {message}");
    }
}

fn list(ids: &[u32]) -> Vec<u8> {
    let members = ids.iter().map(|id| member(*id, "")).collect();
    encode(Message::Members(Members { members }))
}

fn encode(message: Message) -> Vec<u8> {
    wzp_proto::framing::encode(&wzp_proto::control::RelayMessage::from(message)).to_vec()
}

#[test]
fn control_stream_that_ends_is_a_lost_session() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.stream.finish().unwrap();
        client.connection.closed().await;
    });
    let output = client(&relay, &["--duration", "20"]);
    assert_eq!(output.status.code(), Some(6), "{}", error(&output));
}

#[test]
fn fifty_frames_a_second_are_fifty() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        let began = Instant::now();
        let (datagrams, end) = client.datagrams().await;
        (client.hello, datagrams, end, began.elapsed())
    });
    let output = client(&relay, &["--send-tone", "2", "--name", "Ann", "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let summary = summary(&output);
    assert_eq!(summary["frames_sent"], 100);
    assert_eq!(summary["end"], "sent");
    assert_eq!(summary["room"], "lobby");
    assert_eq!(summary["sender_id"], SENDER_ID);
    assert_eq!(summary["session_id"], "000000000000feed");
    assert_eq!(summary["profile"], "GOOD");

    let (hello, datagrams, end, took) = relay.outcome.recv_timeout(PATIENCE).unwrap();
    assert!(left_properly(&end), "{end}");
    assert_eq!((hello.room.as_str(), hello.name.as_str()), ("lobby", "Ann"));
    assert!(!hello.muted);
    // 99 intervals of 20 ms; faster would be a burst.
    assert!(took >= Duration::from_millis(99 * 20), "{took:?}");
    let headers: Vec<_> =
        datagrams.iter().map(|datagram| MediaHeader::decode(datagram).unwrap().0).collect();
    assert_eq!(headers.len(), 100);
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        assert_eq!(pair[1].timestamp, pair[0].timestamp + CLOCK_HZ / 50);
    }
    assert!(headers.iter().all(|header| u32::from(header.sender_id) == SENDER_ID));
}

#[test]
fn what_is_heard_is_counted_reported_and_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("heard.wav");
    let relay = Relay::start(parrot);
    let output = client(
        &relay,
        &[
            "--send-tone",
            "2",
            "--duration",
            "3.2",
            "--json",
            "--record",
            recording.to_str().unwrap(),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = summary(&output);
    assert_eq!(summary["end"], "duration");
    assert_eq!(summary["frames_received"], 100, "{summary}");
    let talkers = summary["talkers"].as_array().unwrap();
    assert_eq!(talkers.len(), 1, "{summary}");
    assert_eq!(talkers[0]["sender_id"], 9);
    assert_eq!(talkers[0]["name"], "Polly");
    assert_eq!(talkers[0]["received"], 100);
    assert_eq!(talkers[0]["expected"], 100);
    assert_eq!(talkers[0]["lost"], 0);

    let messages = relay.outcome.recv_timeout(PATIENCE).unwrap();
    let reports: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            client_message::Message::ReceiverReport(report) => Some(report),
            _ => None,
        })
        .collect();
    assert!((2..=4).contains(&reports.len()), "once a second: {reports:?}");
    assert_eq!(reports.last().unwrap().sources[0].sender_id, 9);
    assert_eq!(reports.last().unwrap().sources[0].frames_expected, 100);

    let wav = std::fs::read(&recording).unwrap();
    let samples = mono16(&wav);
    let length = sounding(&samples).len();
    assert!((94_000..=148_000).contains(&length), "2 s at 48 kHz, and noise: {length}");
    assert!(loudest(&samples) > 1000, "a tone: {}", loudest(&samples));
}

#[test]
fn signals_end_the_session_properly() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let directory = tempfile::tempdir().unwrap();
        let recording = directory.path().join("heard.wav");
        let (ready_in, ready) = std::sync::mpsc::channel();
        let relay = Relay::start(move |mut client: Client| async move {
            client.welcome(welcome()).await;
            client.send(Message::Ping(Ping { number: 1 })).await;
            let _ = client.next().await;
            ready_in.send(client.hello.muted).unwrap();
            client.connection.closed().await
        });
        let child = spawn(&relay, &["--json", "--quiet", "--record", recording.to_str().unwrap()]);
        assert!(ready.recv_timeout(PATIENCE).unwrap(), "nothing to send: muted");
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{signal}: {}", stderr(&output));
        assert_eq!(summary(&output)["end"], "signal");
        assert!(left_properly(&relay.outcome.recv_timeout(PATIENCE).unwrap()));
        assert_eq!(loudest(&mono16(&std::fs::read(&recording).unwrap())), 0);
    }
}

/// As nohup(1) starts it: the terminal goes, and the call goes on.
#[test]
fn a_hangup_that_is_ignored_from_the_start_stays_ignored() {
    let (ready_in, ready) = std::sync::mpsc::channel();
    let relay = Relay::start(move |mut client: Client| async move {
        client.enter().await;
        ready_in.send(()).unwrap();
        client.connection.closed().await
    });
    let call = program::command(&relay, &["--json", "--quiet", "--duration", "2"]);
    let child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(call.get_program())
        .args(call.get_args())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    ready.recv_timeout(PATIENCE).unwrap();
    let killed = Command::new("kill").args(["-HUP", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(summary(&output)["end"], "duration");
}

#[test]
fn pings_are_answered_at_once() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        let mut pongs = Vec::new();
        for number in [1, 77, u64::MAX] {
            client.send(Message::Ping(Ping { number })).await;
            pongs.push(client.next().await);
        }
        client.connection.closed().await;
        pongs
    });
    let output = client(&relay, &["--duration", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let pong = |number| Some(client_message::Message::Pong(wzp_proto::control::Pong { number }));
    let pongs = relay.outcome.recv_timeout(PATIENCE).unwrap();
    assert_eq!(pongs, [pong(1), pong(77), pong(u64::MAX)]);
}

#[test]
fn sending_waits_for_the_members_asked_for() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome_among(vec![member(1, "Ann")]).await;
        let silent = tokio::time::timeout(Duration::from_millis(300), async {
            client.connection.read_datagram().await
        });
        let early = silent.await.is_ok();
        client.send(joined(2, 2, "Bob")).await;
        (early, client.datagrams().await.0.len())
    });
    let output = client(&relay, &["--send-tone", "0.2", "--wait-for", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(relay.outcome.recv_timeout(PATIENCE).unwrap(), (false, 10));
}

#[test]
fn waiting_in_vain_has_its_own_exit_code() {
    let cases = [&["--wait-timeout", "0.3"][..], &["--duration", "0.3"]];
    for bound in cases {
        let relay = Relay::start(|mut client: Client| async move {
            client.welcome_among(vec![member(1, "Ann")]).await;
            client.connection.closed().await
        });
        let arguments = [&["--send-tone", "1", "--wait-for", "2", "--json"], bound].concat();
        let output = client(&relay, &arguments);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(8), "{message}");
        assert!(message.contains("1 of 2 other members"), "{message}");
        let summary = summary(&output);
        assert_eq!(
            (&summary["end"], &summary["frames_sent"]),
            (&"members_missing".into(), &0.into())
        );
        assert!(left_properly(&relay.outcome.recv_timeout(PATIENCE).unwrap()));
    }
}

#[test]
fn events_are_told_and_feedback_changes_the_profile() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        client.send(joined(2, 1, "Ann")).await;
        // Several changes in one message, and news of the client itself among them.
        let change = RoomChanged {
            room_version: 3,
            joined: vec![member(2, "Bob"), member(SENDER_ID, "I")],
            muted: vec![1, SENDER_ID],
            ..RoomChanged::default()
        };
        client.send(Message::RoomChanged(change)).await;
        let change = RoomChanged { room_version: 4, left: vec![1], ..RoomChanged::default() };
        client.send(Message::RoomChanged(change)).await;
        for dropped in [5, 6] {
            let text = "media beyond 60 datagrams a second is dropped".into();
            client.send(Message::Notice(Notice { code: 1, text, dropped })).await;
        }
        for _ in 0..4 {
            let feedback = SenderFeedback {
                listeners: 2,
                mean_loss_ppm: 250_000,
                deciding_loss_ppm: 300_000,
                deciding_jitter_us: 90_000,
            };
            client.send(Message::SenderFeedback(feedback)).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        client.connection.closed().await;
    });
    let output = client(&relay, &["--send-tone", "2.5", "--json"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let events: Vec<_> = text.lines().skip(1).take(4).collect();
    assert_eq!(events, ["Ann (1) joined", "Bob (2) joined", "Ann (1) is muted", "Ann (1) left"]);
    let notice = "warning: the relay says: media beyond 60 datagrams";
    assert_eq!(text.matches(notice).count(), 1, "{text}");
    let summary = summary(&output);
    assert_eq!(summary["feedback"]["listeners"], 2, "{summary}");
    assert_eq!(summary["feedback"]["deciding_loss_ppm"], 300_000, "{summary}");
    assert_ne!(summary["profile"], "GOOD", "{summary}");
}

#[test]
fn draining_relays_are_left_in_time() {
    // What is sent ends before the deadline; or it does not.
    let cases = [(&["--send-tone", "0.5"][..], 10_000, 0, "sent"), (&[], 800, 6, "draining")];
    for (arguments, deadline_ms, code, end) in cases {
        let relay = Relay::start(move |mut client: Client| async move {
            client.welcome(welcome()).await;
            client.send(Message::Draining(Draining { deadline_ms })).await;
            client.connection.closed().await
        });
        let output = client(&relay, &[arguments, &["--json", "--no-reconnect"]].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("the relay is going to stop"), "{text}");
        assert_eq!(summary(&output)["end"], end);
        assert!(left_properly(&relay.outcome.recv_timeout(PATIENCE).unwrap()));
    }
}

#[test]
fn a_relay_that_goes_on_is_not_left() {
    let relay = Relay::start(move |mut client: Client| async move {
        client.welcome(welcome()).await;
        client.send(Message::Draining(Draining { deadline_ms: 700 })).await;
        client.send(Message::Resumed(Resumed {})).await;
        client.connection.closed().await
    });
    let output = client(&relay, &["--duration", "1.2", "--json"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("the relay goes on"), "{text}");
    assert_eq!(summary(&output)["end"], "duration");
    assert!(left_properly(&relay.outcome.recv_timeout(PATIENCE).unwrap()));
}

/// A frame of that sender, of a voice that is not there.
fn frame(sender_id: u32) -> Vec<u8> {
    let header = MediaHeader {
        profile: wzp_proto::media::Profile::Good,
        level: wzp_proto::media::AudioLevel::SILENCE,
        sender_id: sender_id as u16,
        sequence: 1,
        timestamp: 1,
    };
    [&header.encode()[..], &[0; 40]].concat()
}

/// Three hundred talk, and then others: they are heard, and the relay is told of
/// them alone.
#[test]
fn whoever_talks_is_heard_however_many_have_talked() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        let mut reported = Vec::new();
        for (talkers, pause) in [(1000..1300, 5200), (1300..1400, 1500)] {
            for talker in talkers {
                client.connection.send_datagram(frame(talker).into()).unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let until = Duration::from_millis(pause);
            let _ = tokio::time::timeout(until, async {
                while let Some(message) = client.next().await {
                    if let client_message::Message::ReceiverReport(report) = message {
                        reported = report.sources.iter().map(|source| source.sender_id).collect();
                    }
                }
            })
            .await;
        }
        client.close(CloseCode::GoingAway, "that was all");
        reported
    });
    let output = client(&relay, &["--json", "--no-reconnect"]);
    let summary = summary(&output);
    assert_eq!(summary["frames_received"], 400, "{}", stderr(&output));
    let talkers = summary["talkers"].as_array().unwrap().iter();
    let talkers: Vec<_> = talkers.map(|talker| talker["sender_id"].as_u64().unwrap()).collect();
    assert!(talkers.iter().copied().eq(1000..1400), "{talkers:?}");
    let reported = relay.outcome.recv_timeout(PATIENCE).unwrap();
    assert!(reported.iter().copied().eq(1300..1400), "{reported:?}");
}

#[test]
fn datagrams_that_are_no_media_are_ignored() {
    let relay = Relay::start(|mut client: Client| async move {
        client.welcome(welcome()).await;
        let echo = frame(SENDER_ID);
        let datagrams = [vec![], vec![0x80; 5], vec![0xff; 100], vec![0x8f; 100], echo];
        for datagram in datagrams {
            client.connection.send_datagram(datagram.into()).unwrap();
        }
        client.connection.closed().await
    });
    let output = client(&relay, &["--duration", "0.5", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = summary(&output);
    assert_eq!(summary["frames_received"], 0);
    assert_eq!(summary["talkers"], Value::Array(vec![]));
    assert!(left_properly(&relay.outcome.recv_timeout(PATIENCE).unwrap()));
}
