//! What the members of a room hear of each other, and what that costs.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use wzp_proto::control::{Hello, Mute, client_message};
use wzp_sfu::limits::Limits;

use crate::random::for_each_seed;
use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const SECOND: Duration = Duration::from_secs(1);

fn roomy() -> Limits {
    Limits { handshakes: 4000, ..Limits::default() }
}

fn path() -> Conditions {
    Conditions { delay: Duration::from_millis(10), ..Conditions::default() }
}

/// Lets clients into a room, evenly over that time, and waits until everyone there knows
/// everyone.
fn fill(world: &mut World, members: usize, over: Duration) {
    for number in 0..members {
        world.connect(0, Opening::Hello(hello(0, number)));
        world.run_for(over / members as u32);
    }
    assert!(world.run_until(5 * SECOND, |world| {
        world.clients.iter().all(|client| client.members.len() + 1 == members)
    }));
}

/// Packets of the relay while time passes.
fn packets_in(world: &mut World, time: Duration) -> u64 {
    let before = world.packets_sent;
    world.run_for(time);
    world.packets_sent - before
}

/// A message to everyone for each join were 500 packets a member.
#[test]
fn a_thousand_joins_in_a_second_and_as_many_leaves_at_once_are_few_packets() {
    let mut world = World::new(31, 2, roomy(), path());
    fill(&mut world, 1000, SECOND);
    let joining = world.packets_sent / 1000;
    println!("{joining} packets a member while 1,000 join");
    // Of them 4 in the handshake, and a list of 500 that takes 8 on average.
    assert!(joining <= 40, "{joining} packets a member while 1,000 join");

    // All who leave are told together, in what fits two packets.
    world.run_for(SECOND);
    for client in 0..500 {
        world.with_client(client, |client, now| client.leave(now));
    }
    let leaving = packets_in(&mut world, SECOND) / 500;
    println!("{leaving} packets a member that stays while 500 leave");
    assert!(leaving <= 6, "{leaving} packets a member that stays while 500 leave");
    assert!(world.clients[500..].iter().all(|client| client.members.len() == 499));
}

/// Muting as fast as control messages may come costs each member one packet a window.
#[test]
fn forty_who_mute_all_the_time_cost_a_packet_per_member_and_window() {
    const MEMBERS: usize = 200;
    let mut world = World::new(32, 2, roomy(), path());
    fill(&mut world, MEMBERS, SECOND);
    world.run_for(SECOND);
    let before = world.packets_sent;
    for round in 0..50 {
        for number in 0..40 {
            // Each at a time of its own, 5 times a second.
            let muted = round % 2 == 0;
            world.with_client(number, |client, _| {
                client.say(client_message::Message::Mute(Mute { muted }))
            });
            world.run_for(Duration::from_millis(5));
        }
    }
    world.run_for(SECOND);
    let packets = world.packets_sent - before;
    let windows = 11 * SECOND.as_millis() / world.shared.limits.membership_window.as_millis();
    // An acknowledgement to each of the 40, and Ping to all, once in ten seconds.
    let most = MEMBERS as u64 * (windows as u64 + 3) + 40 * 50;
    println!("{packets} packets, at most {most}, in {windows} windows");
    assert!(packets <= most, "{packets} packets, at most {most}");
    // The last state is known.
    assert!(world.clients.iter().all(|client| client.muted.is_empty()));
    let changes = world.sum(|stats| stats.membership_changes.get());
    let deferred = world.sum(|stats| stats.membership_changes_deferred.get());
    assert!(deferred > 2000 && changes > deferred, "{deferred} of {changes}");
}

/// A room of one costs no message and no waiting.
#[test]
fn who_is_alone_is_welcomed_and_told_nothing_more() {
    let mut world = World::new(33, 3, roomy(), path());
    for room in 0..20 {
        world.connect(room, Opening::Hello(hello(room, 0)));
    }
    world.run_for(SECOND);
    assert!(world.clients.iter().all(|client| client.welcome.is_some()));
    assert_eq!(world.sum(|stats| stats.membership_messages.get()), 0);
    assert_eq!(world.sum(|stats| stats.membership_changes.get()), 0);
    let latest = world.clients.iter().map(|client| client.joined_at.unwrap()).max().unwrap();
    // Five paths of 10 ms for handshake and Hello, and a few for the shards.
    assert!(latest - world.start < Duration::from_millis(60), "{:?}", latest - world.start);
}

/// The first change after a quiet time does not wait, wherever the members sit.
#[test]
fn a_lone_change_is_told_at_once() {
    let mut world = World::new(34, 4, roomy(), path());
    fill(&mut world, 6, SECOND);
    world.run_for(SECOND);
    world.with_client(3, |client, _| {
        client.say(client_message::Message::Mute(Mute { muted: true }))
    });
    world.run_for(Duration::from_millis(22));
    assert!(world.clients.iter().all(|client| client.muted.len() == 1));
    world.run_for(SECOND);
    world.with_client(3, |client, now| client.leave(now));
    world.run_for(Duration::from_millis(22));
    let others = world.clients.iter().filter(|client| client.number != 3);
    assert!(others.into_iter().all(|client| client.members.len() == 4));
}

/// Media of and to a newcomer does not wait until the others are told of it.
#[test]
fn a_newcomer_on_another_shard_is_heard_before_it_is_announced() {
    let mut world = World::new(35, 4, roomy(), path());
    fill(&mut world, 8, SECOND);
    // The window begins anew with this.
    world.with_client(0, |client, _| {
        client.say(client_message::Message::Mute(Mute { muted: true }))
    });
    world.run_for(Duration::from_millis(30));
    let newcomers: Vec<_> =
        (8..12).map(|n| world.connect(0, Opening::Hello(hello(0, n)))).collect();
    world.run_for(Duration::from_millis(60));
    for client in 0..12 {
        world.start_talking(client, Duration::from_millis(20));
    }
    world.run_for(Duration::from_millis(50));
    assert!(world.clients[..8].iter().all(|client| client.members.len() == 7), "told too soon");
    for client in &world.clients {
        for newcomer in newcomers.iter().filter(|newcomer| **newcomer != client.number) {
            assert!(client.heard.contains_key(newcomer), "{newcomer} at {}", client.number);
        }
    }
    for newcomer in newcomers {
        assert_eq!(world.clients[newcomer].heard.len(), 11);
    }
}

/// People join, leave and mute at random, on several shards and lossy networks, some
/// for less than a window, and rooms empty and come back.
#[test]
fn everybody_arrives_at_the_same_member_list() {
    for_each_seed(60, |seed| {
        let shards = 1 + seed as usize % 4;
        let conditions = Conditions {
            loss: if seed.is_multiple_of(3) { 0.1 } else { 0.0 },
            delay: Duration::from_millis(15),
            jitter: Duration::from_millis(20),
            ..Conditions::default()
        };
        let mut world = World::new(seed, shards, roomy(), conditions);
        // Who is to be there in the end, and whether muted.
        let mut here: BTreeMap<usize, bool> = BTreeMap::new();
        for _ in 0..120 {
            let someone = world.rng.random_range(0..12);
            let someone = here.keys().copied().nth(someone);
            match (world.rng.random_range(0..10), someone) {
                (0..4, _) => {
                    let (room, muted) = (world.rng.random_range(0..2), world.rng.random());
                    let number = world.clients.len();
                    let hello = Hello { muted, ..hello(room, number) };
                    here.insert(world.connect(room, Opening::Hello(hello)), muted);
                }
                (4..7, Some(client)) => {
                    here.remove(&client);
                    world.with_client(client, |client, now| client.leave(now));
                }
                (7.., Some(client)) if world.clients[client].welcome.is_some() => {
                    let muted = world.rng.random();
                    here.insert(client, muted);
                    world.with_client(client, |client, _| {
                        client.say(client_message::Message::Mute(Mute { muted }))
                    });
                }
                _ => {}
            }
            let pause = world.rng.random_range(0..60);
            world.run_for(Duration::from_millis(pause));
        }
        world.conditions.loss = 0.0;
        world.run_for(25 * SECOND);
        for number in here.keys() {
            let client = &world.clients[*number];
            assert_eq!(client.lost, None);
            let room = here.keys().map(|other| &world.clients[*other]);
            let room: Vec<_> = room.filter(|other| other.room == client.room).collect();
            let others = room.iter().filter(|other| other.number != *number);
            let expected: BTreeMap<_, _> = others
                .map(|other| {
                    (other.sender_id().unwrap().into(), format!("client {}", other.number))
                })
                .collect();
            assert_eq!(client.members, expected, "client {number}");
            let muted = room.iter().filter(|other| here[&other.number]);
            let muted = muted.map(|other| other.sender_id().unwrap().into()).collect();
            assert_eq!(client.muted, muted, "client {number}");
        }
    });
}
