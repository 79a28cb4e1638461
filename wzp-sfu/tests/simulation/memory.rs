//! What a peer can make the relay hold, counted at the allocator while it pushes as
//! much as it can: the table of docs/security.md, row by row.

use std::time::Duration;

use bytes::Bytes;
use wzp_proto::control::{ClientMessage, Hello, Mute, client_message};
use wzp_proto::framing::encode;
use wzp_sfu::access::{AuthRequest, Grant, Refusal};
use wzp_sfu::count::reason::EndReason;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Attention, Client, Opening, hello};
use wzp_sim::world::{Conditions, World};

/// Connections that push at the same time.
const PUSHERS: usize = 20;

/// Bounds of the table, in bytes for each connection, QUIC's state included.
const HANDSHAKING: u64 = 32 * 1024;
const BEFORE_THE_ROOM: u64 = 64 * 1024;
const IN_A_ROOM: u64 = 512 * 1024;

fn never(_: &AuthRequest, _: std::time::Instant) -> Option<(Duration, Result<Grant, Refusal>)> {
    None
}

fn world(limits: Limits) -> World {
    let conditions = Conditions { delay: Duration::from_millis(5), ..Conditions::default() };
    let mut world = World::new(43, 1, limits, conditions);
    // What the shard keeps for whoever comes is not held by anybody.
    for number in 0..2 * PUSHERS {
        world.connect(9, Opening::Hello(hello(9, number)));
    }
    world.run_for(Duration::from_secs(1));
    for number in 0..2 * PUSHERS {
        world.with_client(number, |client, now| client.leave(now));
    }
    world.run_for(Duration::from_secs(5));
    world.assert_nothing_left();
    world
}

/// Bytes that the relay holds.
fn held(world: &World) -> u64 {
    world.memory.bytes - world.memory.freed
}

/// The most that a connection has the relay hold while each does `push` every 5 ms.
fn most_per_connection(
    world: &mut World,
    opening: &Opening,
    time: Duration,
    push: impl Fn(&mut Client),
) -> u64 {
    let before = held(world);
    let first = world.clients.len();
    for _ in 0..PUSHERS {
        world.connect(0, opening.clone());
    }
    let end = world.now + time;
    let mut most = 0;
    while world.now < end {
        world.run_for(Duration::from_millis(5));
        for number in first..first + PUSHERS {
            if world.clients[number].is_open() {
                world.with_client(number, |client, _| push(client));
            }
        }
        most = most.max(held(world).saturating_sub(before));
    }
    most / PUSHERS as u64
}

/// All that the connection takes, of control stream and datagrams.
fn push_all(client: &mut Client) {
    client.write(&[0x2a; 64 * 1024]);
    for _ in 0..10 {
        client.send_raw(Bytes::from_static(&[0x80; 1000]));
    }
}

#[test]
fn what_waits_for_a_decision_waits_at_the_client() {
    let mut world = world(Limits::default());
    world.shared.auth.set(Some(Duration::from_secs(10)));
    world.authenticator = Some(never);
    let token = "x".repeat(8000);
    let opening = Opening::Hello(Hello { token, ..hello(0, 0) });
    let most = most_per_connection(&mut world, &opening, Duration::from_secs(8), push_all);
    println!("authenticating: {most} bytes each");
    assert!(most <= BEFORE_THE_ROOM, "{most}");
    assert_eq!(world.population().handshakes, PUSHERS as u32, "nobody has been closed for it");
}

#[test]
fn a_message_that_never_ends_is_held_once() {
    let mut world = world(Limits { hello_timeout: Duration::from_secs(10), ..Limits::default() });
    // A Hello of 16,000 bytes of which the last does not come.
    let opening = Opening::Raw(Bytes::from_static(&[0x80, 0x7d]));
    let most = most_per_connection(&mut world, &opening, Duration::from_secs(5), |client| {
        client.write(&vec![0; 16_001 - client.written]);
        client.send_raw(Bytes::from_static(&[0x80; 1000]));
    });
    assert!(world.clients.iter().skip(2 * PUSHERS).all(|client| client.written == 16_001));
    println!("awaiting Hello: {most} bytes each");
    assert!(most <= BEFORE_THE_ROOM, "{most}");
    assert_eq!(world.population().handshakes, PUSHERS as u32);
}

#[test]
fn a_handshake_that_does_not_go_on_is_small() {
    let mut world = world(Limits::default());
    let most = most_per_connection(&mut world, &Opening::Silence, Duration::from_secs(1), |_| {});
    println!("a connection that says nothing: {most} bytes");
    assert!(most <= HANDSHAKING, "{most}");
}

/// Members who read nothing, while others mute and talk as fast as they may.
#[test]
fn what_waits_for_a_member_that_reads_nothing_is_bounded() {
    let mut world = world(Limits { messages_per_second: 500, ..Limits::default() });
    let talkers: Vec<_> =
        (0..4).map(|number| world.connect(0, Opening::Hello(hello(0, number)))).collect();
    world.run_for(Duration::from_millis(200));
    for talker in &talkers {
        world.start_talking(*talker, Duration::from_millis(10));
    }
    let before = held(&world);
    let first = world.clients.len();
    for _ in 0..PUSHERS {
        world.connect(0, Opening::Hello(hello(0, 9)));
    }
    world.run_for(Duration::from_millis(500));
    for number in first..first + PUSHERS {
        world.clients[number].attention =
            if number % 2 == 0 { Attention::TransportOnly } else { Attention::None };
    }
    let mut most = 0;
    for round in 0..400u32 {
        let mute = client_message::Message::Mute(Mute { muted: round % 2 == 0 });
        let bytes = encode(&ClientMessage::from(mute)).repeat(3);
        for talker in &talkers {
            world.with_client(*talker, |client, _| client.write(&bytes));
        }
        world.run_for(Duration::from_millis(10));
        most = most.max(held(&world).saturating_sub(before));
    }
    let most = most / PUSHERS as u64;
    println!("in a room, not reading: {most} bytes each");
    assert!(most <= IN_A_ROOM, "{most}");
    assert_eq!(world.closed(EndReason::TooManyMessages), 0);
}
