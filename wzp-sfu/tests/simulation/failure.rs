//! A shard that fails: its clients are told and come back, everybody else's call goes
//! on.

use std::time::Duration;

use quinn_proto::ConnectionError;
use wzp_proto::close::CloseCode;
use wzp_sfu::admission::Population;
use wzp_sfu::count::reason::EndReason;
use wzp_sfu::ids::RoomId;
use wzp_sfu::limits::Limits;
use wzp_sfu::mail::ControlMail;

use crate::random::assert_membership_agrees;
use wzp_sim::client::{Client, Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

fn world(seed: u64, shards: usize) -> World {
    let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
    World::new(seed, shards, Limits::default(), conditions)
}

/// One more client, which talks once it is in.
fn join(world: &mut World, room: u32) -> usize {
    let client = world.connect(room, Opening::Hello(hello(room, world.clients.len())));
    world.start_talking(client, FRAME);
    client
}

fn is_there(client: &Client) -> bool {
    client.welcome.is_some() && client.lost.is_none()
}

/// Each of three shards fails in its turn. The rooms have members on all of them and
/// their homes on any, and those who lost their session join again at once.
#[test]
fn a_shard_that_fails_ends_its_own_sessions_and_no_other_call() {
    for seed in 0..10 {
        let mut world = world(seed, 3);
        for number in 0..24 {
            join(&mut world, number % 4);
        }
        world.run_for(Duration::from_secs(1));
        assert!(world.clients.iter().all(is_there));
        let mut lost_in_all = 0;
        for failing in 0..3 {
            let before: Vec<_> = world.clients.iter().map(|client| client.sent).collect();
            let there: Vec<_> =
                (0..world.clients.len()).filter(|n| is_there(&world.clients[*n])).collect();
            let (lost, stay): (Vec<_>, Vec<_>) =
                there.into_iter().partition(|n| world.shard_of(*n) == Some(failing));
            lost_in_all += lost.len() as u64;
            world.fail_shard(failing);
            world.run_for(Duration::from_millis(50));
            for client in lost.iter().map(|n| &world.clients[*n]) {
                assert_eq!(client.close_code(), Some(CloseCode::RelayFailed), "{:?}", client.lost);
                assert!(client.close_text().ends_with("join again"), "{}", client.close_text());
            }
            let rooms: Vec<_> = lost.iter().map(|n| world.clients[*n].room).collect();
            rooms.into_iter().for_each(|room| _ = join(&mut world, room));
            world.run_for(Duration::from_secs(1));
            assert_membership_agrees(&world);
            for (listener, talker) in stay.iter().flat_map(|l| stay.iter().map(move |t| (l, t))) {
                let [listener, talker] = [listener, talker].map(|n| &world.clients[*n]);
                assert!(is_there(listener), "client {}: {:?}", listener.number, listener.lost);
                if listener.room == talker.room && listener.number != talker.number {
                    let due = before[talker.number]..talker.sent - 5;
                    let heard = listener.heard[&talker.number].sequences.range(due.clone()).count();
                    assert_eq!(heard, due.len(), "of {} by {}", talker.number, listener.number);
                }
            }
            let there = world.clients.iter().filter(|client| is_there(client)).count();
            assert_eq!(there, 24, "all are back");
        }
        assert_eq!(world.closed(EndReason::RelayFailed), lost_in_all);
        assert_eq!(population(&world), (24, 0, 0, 0));
    }
}

/// The close of a shard that failed gets lost: a second later the client's next packet
/// is answered with a stateless reset.
#[test]
fn who_does_not_hear_the_close_is_told_with_its_next_packet() {
    let mut world = world(1, 2);
    let clients = [0; 6].map(|room| join(&mut world, room));
    world.run_for(Duration::from_secs(1));
    let lost = clients.map(|client| world.shard_of(client) == Some(0));
    assert!(lost.contains(&true) && lost.contains(&false), "{lost:?}");
    world.fail_shard(0);
    world.conditions.loss = 1.0;
    world.run_for(Duration::from_millis(5));
    world.conditions.loss = 0.0;
    world.run_for(Duration::from_millis(900));
    assert!(world.clients.iter().all(is_there));
    world.run_for(Duration::from_millis(200));
    for (client, lost) in clients.into_iter().zip(lost) {
        let expected = lost.then_some(ConnectionError::Reset);
        assert_eq!(world.clients[client].lost, expected, "client {client}");
    }
}

/// The home of a room panics over a question whether somebody may join.
#[test]
fn who_is_not_answered_by_a_rooms_home_is_told_to_join_again() {
    let mut world = world(2, 2);
    world.loses_joins = true;
    for room in 0..8 {
        world.connect(room, Opening::Hello(hello(room, room as usize)));
    }
    world.run_for(Duration::from_secs(4));
    let (waiting, there): (Vec<_>, Vec<_>) = (0..8).partition(|n| !is_there(&world.clients[*n]));
    assert!(!waiting.is_empty() && !there.is_empty(), "{waiting:?}");
    assert!(waiting.iter().all(|n| world.clients[*n].lost.is_none()));
    world.run_for(Duration::from_secs(2));
    for client in waiting.iter().map(|n| &world.clients[*n]) {
        assert_eq!(client.close_code(), Some(CloseCode::RelayFailed));
        assert!(client.close_text().contains("did not answer"), "{}", client.close_text());
    }
    assert!(there.iter().all(|n| is_there(&world.clients[*n])));
    world.run_for(Duration::from_secs(5));
    assert_eq!(population(&world), (there.len() as u32, 0, 0, 0));
}

/// Sessions, and connections on their way in, out, and to make way.
fn population(world: &World) -> (u32, u32, u32, u32) {
    let Population { sessions, handshakes, closing, making_way, .. } = world.population();
    (sessions, handshakes, closing, making_way)
}

/// A shard panicked in the midst of a change of a room, and says so.
#[test]
fn a_room_that_is_lost_ends_for_its_members_wherever_they_are() {
    let mut world = world(3, 2);
    for room in [0, 0, 0, 0, 1, 1] {
        join(&mut world, room);
    }
    world.run_for(Duration::from_secs(1));
    // The first room of whichever shard is its home; there is none of that number on
    // the other.
    let first = |home| ControlMail::Failed { shard: 9, room: Some(RoomId { home, number: 0 }) };
    for home in 0..2 {
        if world.clients.iter().all(is_there) {
            world.tell_shards(|| first(home));
            world.run_for(Duration::from_millis(50));
        }
    }
    let lost: Vec<_> = world.clients.iter().filter(|client| !is_there(client)).collect();
    assert!(!lost.is_empty());
    for client in lost {
        assert_eq!(client.close_code(), Some(CloseCode::RelayFailed));
        assert!(client.close_text().contains("your room"), "{}", client.close_text());
    }
    for room in 0..2 {
        let members = || world.clients.iter().filter(|client| client.room == room);
        let there = members().filter(|client| is_there(client)).count();
        assert!(there == 0 || there == members().count(), "room {room} is lost in part");
    }
    assert!(world.clients.iter().any(is_there));
    assert_membership_agrees(&world);
}

/// What operators told a shard outlives its failure.
#[test]
fn a_draining_shard_that_fails_goes_on_draining() {
    let mut world = world(4, 1);
    join(&mut world, 0);
    world.run_for(Duration::from_secs(1));
    world.drain(Duration::from_secs(10));
    world.run_for(Duration::from_millis(50));
    world.fail_shard(0);
    let late = join(&mut world, 0);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[late].close_code(), Some(CloseCode::Draining));
    world.tell_shards(|| ControlMail::Undrain);
    let last = join(&mut world, 0);
    world.run_for(Duration::from_secs(1));
    assert!(is_there(&world.clients[last]));
}
