//! Clients that break the rules, next to a call that must not notice.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use quinn_proto::{ConnectionError, TransportErrorCode};
use rand::RngExt;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{ClientMessage, Hello, Mute, client_message, notice};
use wzp_proto::framing::encode;
use wzp_sfu::count::reason::{DropReason, EndReason, RefuseReason};
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

/// Three people in a call that goes on through everything.
fn call(limits: Limits) -> World {
    let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
    let mut world = World::new(17, 2, limits, conditions);
    for number in 0..3 {
        world.connect(0, Opening::Hello(hello(0, number)));
    }
    world.run_for(Duration::from_millis(500));
    for number in 0..3 {
        world.start_talking(number, FRAME);
    }
    world
}

fn assert_call_lost_nothing(world: &mut World) {
    let sent: Vec<_> = (0..3).map(|number| world.clients[number].sent).collect();
    world.run_for(Duration::from_millis(100));
    for listener in 0..3 {
        for talker in (0..3).filter(|talker| *talker != listener) {
            let heard = &world.clients[listener].heard[&talker].sequences;
            let missing = (0..sent[talker]).filter(|sequence| !heard.contains(sequence)).count();
            assert_eq!(missing, 0, "of {} from {talker} at {listener}", sent[talker]);
        }
    }
}

fn message(message: client_message::Message) -> Bytes {
    encode(&ClientMessage::from(message))
}

#[test]
fn every_broken_opening_gets_its_code_and_sentence() {
    let hello_with = |change: fn(&mut Hello)| {
        let mut hello = hello(9, 9);
        change(&mut hello);
        message(client_message::Message::Hello(hello))
    };
    let twice = |bytes: Bytes| Bytes::from([&bytes[..], &bytes[..]].concat());
    let cases: Vec<(&str, Bytes, CloseCode, &str)> = vec![
        (
            "not protobuf",
            Bytes::from_static(&[4, 0xff, 0xff, 0xff, 0xff]),
            CloseCode::Malformed,
            "does not decode",
        ),
        (
            "length above the limit",
            Bytes::from_static(&[0xff, 0xff, 0x7f]),
            CloseCode::MessageTooLong,
            "16384",
        ),
        ("endless length", Bytes::from_static(&[0x80; 8]), CloseCode::MessageTooLong, "16384"),
        (
            "empty message first",
            message(client_message::Message::Mute(Mute { muted: true })),
            CloseCode::UnexpectedMessage,
            "Hello",
        ),
        (
            "room of 129 bytes",
            hello_with(|hello| hello.room = "x".repeat(129)),
            CloseCode::Malformed,
            "129 bytes",
        ),
        (
            "no room",
            hello_with(|hello| hello.room.clear()),
            CloseCode::Malformed,
            "room name is empty",
        ),
        ("unknown role", hello_with(|hello| hello.role = 5), CloseCode::Malformed, "role 5"),
        (
            "name too long",
            hello_with(|hello| hello.name = "x".repeat(300)),
            CloseCode::Malformed,
            "300 bytes",
        ),
        (
            "room not UTF-8",
            Bytes::from_static(&[7, 0x0a, 5, 0x1a, 1, 0xff, 0x08, 1]),
            CloseCode::Malformed,
            "does not decode",
        ),
        ("Hello twice", twice(hello_with(|_| {})), CloseCode::UnexpectedMessage, "second time"),
    ];
    let mut world = call(Limits::default());
    for (name, bytes, code, text) in cases {
        let client = world.connect(9, Opening::Raw(bytes));
        world.run_for(Duration::from_millis(300));
        assert_eq!(world.clients[client].close_code(), Some(code), "{name}");
        let sentence = world.clients[client].close_text();
        assert!(sentence.contains(text), "{name}: {sentence:?}");
    }
    assert_call_lost_nothing(&mut world);
    assert_eq!(world.population().sessions, 3);
}

#[test]
fn clients_that_never_say_hello_are_limited_and_gone_by_the_deadline() {
    let limits =
        Limits { handshakes: 150, hello_timeout: Duration::from_secs(2), ..Limits::default() };
    let mut world = call(limits);
    // Half say nothing, half begin a Hello that never ends.
    for number in 0..300 {
        let opening = match number % 2 {
            0 => Opening::Silence,
            _ => Opening::Raw(Bytes::from_static(&[0x80, 0x01, 0x0a])),
        };
        world.connect(9, opening);
        if number % 20 == 0 {
            world.run_for(Duration::from_millis(5));
        }
    }
    world.run_for(Duration::from_millis(500));
    let refused = world.sum(|stats| stats.connections_refused[RefuseReason::Handshakes].get());
    assert!(refused >= 100, "{refused} refused");
    assert!(world.population().handshakes <= 150);
    assert!(world.sum(|stats| stats.retries_sent.get()) > 0, "addresses had to be proven");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.population().handshakes, 0);
    assert!(world.closed(EndReason::HelloTimeout) > 100);
    let late = world.clients[3..].iter().find(|client| client.close_code().is_some()).unwrap();
    assert_eq!(late.close_text(), "Hello did not come within 2s");
    assert_call_lost_nothing(&mut world);
}

#[test]
fn connections_of_one_address_are_limited_and_the_peer_can_tell() {
    let mut world = call(Limits { sessions_per_address: 2, ..Limits::default() });
    let host = [198, 51, 100, 7];
    let clients: Vec<_> = (0..5).map(|_| world.connect_from(host, 9, Opening::Silence)).collect();
    world.run_for(Duration::from_secs(1));
    let refused = clients.iter().filter(|client| {
        matches!(&world.clients[**client].lost, Some(ConnectionError::ConnectionClosed(close))
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED)
    });
    assert_eq!(refused.count(), 3);
    assert_eq!(world.sum(|stats| stats.connections_refused[RefuseReason::Address].get()), 3);
    // Places are given back.
    world.run_for(Duration::from_secs(10));
    let again = world.connect_from(host, 9, Opening::Hello(hello(9, 9)));
    world.run_for(Duration::from_secs(1));
    assert!(world.clients[again].welcome.is_some());
    assert_call_lost_nothing(&mut world);
}

#[test]
fn datagrams_that_are_not_the_senders_media_are_dropped_counted_and_told() {
    let mut world = call(Limits::default());
    let outsider = world.connect(0, Opening::Silence);
    let talker = world.connect(0, Opening::Hello(hello(0, 4)));
    world.run_for(Duration::from_millis(300));
    let id = world.clients[talker].sender_id().unwrap();
    let good = world.clients[talker].frame(world.now, id);
    let with_first = |first: u8| {
        let mut bytes = good.to_vec();
        bytes[0] = first;
        Bytes::from(bytes)
    };
    let mut long = good.to_vec();
    long.resize(1101, 0);
    let cases = [
        (good.slice(..5), DropReason::Short),
        (good.slice(..12), DropReason::Short),
        (Bytes::new(), DropReason::Short),
        (with_first(0x40), DropReason::Version),
        (with_first(0x90), DropReason::Kind),
        (world.clients[talker].frame(world.now, id + 1), DropReason::SenderId),
        (world.clients[talker].frame(world.now, 1), DropReason::SenderId),
        (Bytes::from(long), DropReason::TooLong),
    ];
    for (datagram, reason) in cases {
        let before = world.dropped(reason);
        world.with_client(talker, |client, _| client.send_raw(datagram.clone()));
        world.run_for(Duration::from_millis(100));
        assert_eq!(world.dropped(reason), before + 1, "{reason:?} for {} bytes", datagram.len());
    }
    world.with_client(outsider, |client, _| client.send_raw(good.clone()));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.dropped(DropReason::NotJoined), 1);
    let notices = &world.clients[talker].notices;
    assert_eq!(notices.iter().map(|notice| notice.dropped).sum::<u64>(), 8, "{notices:?}");
    assert!(notices.len() <= 3, "at most one a second: {notices:?}");
    assert_call_lost_nothing(&mut world);
}

#[test]
fn flood_of_a_member_is_cut_to_the_limit_and_the_member_is_told() {
    let limits = Limits { packets_per_second: 100, bytes_per_second: 50_000, ..Limits::default() };
    let mut world = call(limits);
    let flooder = world.connect(1, Opening::Hello(hello(1, 3)));
    let victim = world.connect(1, Opening::Hello(hello(1, 4)));
    world.run_for(Duration::from_millis(300));
    world.start_talking(flooder, Duration::from_millis(1));
    world.run_for(Duration::from_secs(5));
    let heard = world.clients[victim].heard[&flooder].sequences.len();
    assert!((550..=610).contains(&heard), "5 s at 100 a second and a second's burst: {heard}");
    assert!(world.dropped(DropReason::PacketRate) > 4000);
    let notice = world.clients[flooder].notices.last().expect("told");
    assert_eq!(notice.code(), notice::Code::RateLimited);
    assert_call_lost_nothing(&mut world);
}

#[test]
fn flood_of_control_messages_ends_the_session() {
    let mut world = call(Limits::default());
    let flooder = world.connect(1, Opening::Hello(hello(1, 3)));
    world.run_for(Duration::from_millis(300));
    for number in 0..300 {
        world.with_client(flooder, |client, _| {
            client.say(client_message::Message::Mute(Mute { muted: number % 2 == 0 }))
        });
    }
    world.run_for(Duration::from_millis(300));
    assert_eq!(world.clients[flooder].close_code(), Some(CloseCode::TooManyMessages));
    assert_call_lost_nothing(&mut world);
}

#[test]
fn random_bytes_at_the_port_are_nothing() {
    let mut world = call(Limits::default());
    for number in 0..5000u32 {
        let length = world.rng.random_range(0..1500);
        let mut bytes: Vec<u8> = (0..length).map(|_| world.rng.random()).collect();
        // Half look like the start of QUIC version 1.
        if number % 2 == 0 && length > 30 {
            bytes[0] = 0xc0 | bytes[0] & 0x0f;
            bytes[1..5].copy_from_slice(&[0, 0, 0, 1]);
            bytes[5] = 8;
        }
        let from =
            SocketAddr::from(([203, 0, 113, (number % 250) as u8], 2000 + (number % 1000) as u16));
        world.inject(from, bytes);
        if number % 50 == 0 {
            world.run_for(Duration::from_millis(10));
        }
    }
    world.run_for(Duration::from_secs(8));
    assert_eq!((world.population().sessions, world.population().handshakes), (3, 0));
    assert_call_lost_nothing(&mut world);
}
