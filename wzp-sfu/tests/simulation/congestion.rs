//! The congestion window, over minutes: it follows what is in flight.

use std::time::Duration;

use wzp_sfu::count::reason::DropReason;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// The window that a connection begins with.
const INITIAL: u64 = 64 * 1024;

/// A room of so many, of whom all but the first talk, `delay` away from the relay.
fn room(seed: u64, members: usize, delay: Duration) -> World {
    let conditions = Conditions { delay, ..Conditions::default() };
    let mut world = World::new(seed, 1, Limits::default(), conditions);
    for number in 0..members {
        world.connect(0, Opening::Hello(hello(0, number)));
    }
    let together =
        |world: &World| world.clients.iter().all(|client| client.members.len() + 1 == members);
    assert!(world.run_until(SECOND * 10, together));
    (1..members).for_each(|talker| world.start_talking(talker, FRAME));
    world
}

/// The largest window of any session.
fn largest(world: &World) -> u64 {
    let sessions = world.shared.sessions.list();
    sessions.iter().filter_map(|reading| reading.congestion_window).max().unwrap()
}

#[test]
fn a_call_of_five_minutes_does_not_widen_the_window() {
    let mut world = room(1, 2, Duration::from_millis(30));
    for second in 1..=300 {
        world.run_for(SECOND);
        assert_eq!(largest(&world), INITIAL, "after {second} s");
    }
}

/// A listener of 20 talkers whose path is dead for three seconds, after minutes in which
/// nothing was lost: what it cannot get makes way, but for the window and the queue.
#[test]
fn after_a_stall_the_newest_is_heard_and_the_rest_has_made_way() {
    let mut world = room(2, 21, Duration::from_millis(20));
    // A client acknowledges nothing before it has 64 packets, which fill most of the
    // window.
    world.run_for(SECOND * 5);
    for _ in 0..30 {
        world.run_for(SECOND);
        assert_eq!(largest(&world), INITIAL);
    }
    assert_eq!(world.dropped(DropReason::SendBuffer), 0);
    let sent = world.traffic[&world.clients[0].address].went;
    world.deafen(0, true);
    world.run_for(SECOND * 3);
    let into_the_stall = world.traffic[&world.clients[0].address].went - sent;
    assert!(into_the_stall <= INITIAL + 8 * 1200, "{into_the_stall} bytes");
    // 3000 frames of 92 bytes were said, of which these and the queue had place.
    assert!(world.dropped(DropReason::SendBuffer) > 1500);
    world.deafen(0, false);
    world.run_for(SECOND * 3);
    assert!(largest(&world) <= 4 * INITIAL, "{}", largest(&world));
}

/// 25 talkers over a round trip of a second: 145 KB in flight, which is more than the
/// window that there is in the beginning.
#[test]
fn a_room_that_fills_the_window_gets_a_wider_one_and_loses_nothing_then() {
    let mut world = room(3, 26, Duration::from_millis(500));
    world.run_for(SECOND * 10);
    let dropped = world.dropped(DropReason::SendBuffer);
    let sent: u32 = world.clients.iter().map(|client| client.sent).sum();
    world.run_for(SECOND * 10);
    assert_eq!(world.dropped(DropReason::SendBuffer), dropped, "nothing is held back");
    assert!(largest(&world) >= 145_000, "{}", largest(&world));
    let more = world.clients.iter().map(|client| client.sent).sum::<u32>() - sent;
    assert_eq!(more, 25 * 500);
    // When all have stopped talking it is what it was.
    for talker in 2..26 {
        world.with_client(talker, |client, now| client.leave(now));
    }
    world.run_for(SECOND * 10);
    assert_eq!(largest(&world), INITIAL);
}
