//! What the relay thinks of the paths to its clients: whose packets arrive, and
//! whose had better not be in the others' way.

use std::time::Duration;

use wzp_sfu::conn::Standing;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

/// A room in which the first so many of its members talk.
fn room(members: usize, talkers: usize, conditions: Conditions) -> World {
    let mut world = World::new(23, 2, Limits::default(), conditions);
    for number in 0..members {
        world.connect(0, Opening::Hello(hello(0, number)));
    }
    assert!(world.run_until(Duration::from_secs(5), |world| {
        world.clients.iter().all(|client| client.welcome.is_some())
    }));
    for number in 0..talkers {
        world.start_talking(number, FRAME);
    }
    world.run_for(Duration::from_secs(3));
    world
}

fn delayed(milliseconds: u64) -> Conditions {
    Conditions { delay: Duration::from_millis(milliseconds), ..Conditions::default() }
}

/// How clients stood with what was sent to them in that time.
fn standings(world: &mut World, time: u64) -> Vec<Vec<Standing>> {
    world.standings.clear();
    world.run_for(Duration::from_millis(time));
    let of = |number: usize| world.standings.get(&world.clients[number].address);
    (0..world.clients.len()).map(|number| of(number).cloned().unwrap_or_default()).collect()
}

fn is_all(standings: &[Standing], expected: Standing) -> bool {
    !standings.is_empty() && standings.iter().all(|standing| *standing == expected)
}

#[test]
fn who_hears_is_prompt_whatever_the_delay() {
    for delay in [1, 40, 300] {
        let mut world = room(3, 2, delayed(delay));
        for (client, standings) in standings(&mut world, 5_000).iter().enumerate() {
            assert!(is_all(standings, Standing::Prompt), "{client}, {delay} ms: {standings:?}");
        }
    }
}

#[test]
fn who_only_talks_owes_nothing() {
    let mut world = room(2, 1, delayed(40));
    let alone = &standings(&mut world, 15_000)[0];
    assert!(is_all(alone, Standing::Prompt), "{alone:?}");
}

#[test]
fn strangers_are_late_until_they_have_proved_their_address() {
    let mut world = World::new(23, 1, Limits::default(), delayed(40));
    let client = world.connect(0, Opening::Hello(hello(0, 0)));
    world.run_for(Duration::from_secs(1));
    let standings = &world.standings[&world.clients[client].address];
    assert_eq!(standings.first(), Some(&Standing::Late), "{standings:?}");
    assert_eq!(standings.last(), Some(&Standing::Prompt), "{standings:?}");
}

/// quinn's clients acknowledge nothing before the 65th packet, because the
/// handshake's acknowledgement stops their timer.
#[test]
fn who_has_just_come_is_never_stalled() {
    let mut world = room(3, 3, delayed(1));
    let client = world.connect(0, Opening::Hello(hello(0, 3)));
    world.run_for(Duration::from_secs(10));
    let standings = &world.standings[&world.clients[client].address];
    assert!(!standings.contains(&Standing::Stalled), "{standings:?}");
    assert_eq!(standings.last(), Some(&Standing::Prompt));
}

#[test]
fn who_does_not_hear_is_late_then_stalled_and_the_others_stay_prompt() {
    let mut world = room(4, 3, delayed(40));
    world.deafen(3, true);
    // The last frame that it heard may be 20 ms old, and its acknowledgement
    // another 25 on its way; the shortest round trip is 80.
    for (time, expected) in [
        (100, Some(Standing::Prompt)),
        (150, None),
        (700, Some(Standing::Late)),
        (300, None),
        (5_000, Some(Standing::Stalled)),
    ] {
        let standings = standings(&mut world, time);
        for (client, standings) in standings.iter().enumerate().take(3) {
            assert!(is_all(standings, Standing::Prompt), "{client}: {standings:?}");
        }
        if let Some(expected) = expected {
            assert!(is_all(&standings[3], expected), "{expected:?}: {:?}", standings[3]);
        }
    }
    // It talks on, which is no acknowledgement, and is well as soon as it hears. By now
    // its window is full, so that it may be sent nothing but probes.
    world.start_talking(3, FRAME);
    let deaf = &standings(&mut world, 1_000)[3];
    assert!(deaf.iter().all(|standing| *standing == Standing::Stalled), "{deaf:?}");
    world.deafen(3, false);
    let again = &standings(&mut world, 5_000)[3];
    assert_eq!(again.last(), Some(&Standing::Prompt), "{again:?}");
    assert!(is_all(&standings(&mut world, 1_000)[3], Standing::Prompt));
}

#[test]
fn who_goes_on_from_elsewhere_is_prompt_there() {
    let mut world = room(3, 3, delayed(40));
    world.move_to(2, [10, 9, 9, 9].into());
    world.run_for(Duration::from_secs(1));
    let moved = &standings(&mut world, 5_000)[2];
    assert!(is_all(moved, Standing::Prompt), "{moved:?}");
    world.rebind(2);
    world.run_for(Duration::from_secs(1));
    let moved = &standings(&mut world, 5_000)[2];
    assert!(is_all(moved, Standing::Prompt), "{moved:?}");
}

#[test]
fn a_lossy_path_is_seldom_late() {
    let conditions = Conditions { loss: 0.1, jitter: Duration::from_millis(20), ..delayed(40) };
    let mut world = room(4, 3, conditions);
    let all = standings(&mut world, 60_000).concat();
    let late = all.iter().filter(|standing| **standing != Standing::Prompt).count();
    println!("{late} of {} packets over a path that loses a tenth", all.len());
    assert!(late * 50 < all.len(), "{late} of {}", all.len());
}
