//! Members that die without a word: how long they are shown, and why they are said
//! to have ended.

use std::time::Duration;

use wzp_sfu::count::reason::EndReason;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Attention, Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

/// Two members, one of whom will be no more, after so long.
fn pair(seed: u64, talk: bool, time: Duration) -> World {
    let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
    let mut world = World::new(seed, 2, Limits::default(), conditions);
    for number in 0..2 {
        let client = world.connect(0, Opening::Hello(hello(0, number)));
        world.run_for(Duration::from_millis(200));
        if talk {
            world.start_talking(client, FRAME);
        }
    }
    world.run_for(time);
    world
}

/// How long the other member, who died now, is shown after his last packet.
fn shown(world: &mut World) -> Duration {
    let address = world.clients[1].address;
    let is_gone = |world: &World| world.clients[0].members.is_empty();
    assert!(world.run_until(Duration::from_secs(60), is_gone), "shown for ever");
    world.now - world.traffic[&address].last.unwrap()
}

/// What the last packet, mail, a timer and the look at the clock take.
const SLACK: Duration = Duration::from_millis(40);

#[test]
fn a_dead_member_is_gone_after_the_idle_time_out_and_not_later() {
    let idle = Limits::default().idle_timeout;
    // At whatever time between two Pings it dies, and whether its room talks or not.
    for talk in [true, false] {
        for millis in [100, 1_000, 5_000, 9_700, 9_790, 9_830, 12_000, 19_900] {
            for cut in [true, false] {
                let mut world = pair(millis, talk, Duration::from_millis(millis));
                match cut {
                    // Its packets are dropped on the way, and it goes on.
                    true => drop(world.cut_off.insert(1)),
                    false => world.clients[1].attention = Attention::None,
                }
                let shown = shown(&mut world);
                let case = format!("{millis} ms, talk {talk}, cut {cut}: {shown:?}");
                assert!((idle..=idle + SLACK).contains(&shown), "{case}");
                assert_eq!(world.closed(EndReason::IdleTimeout), 1, "{case}");
                assert_eq!(world.closed(EndReason::Unresponsive), 0, "{case}");
            }
        }
    }
}

#[test]
fn packets_that_only_look_like_the_dead_members_do_not_keep_it() {
    for talk in [true, false] {
        let mut world = pair(7, talk, Duration::from_secs(3));
        let address = world.clients[1].address;
        // The last that it would have sent, with another end.
        let mut forged = Vec::new();
        let now = world.now;
        world.clients[1].talk(now);
        world.clients[1].drive(now, |_, bytes| forged = bytes);
        *forged.last_mut().unwrap() ^= 1;
        world.clients[1].attention = Attention::None;
        let death = world.now;
        while world.population().sessions == 2 {
            world.inject(address, forged.clone());
            world.run_for(Duration::from_millis(250));
            assert!(world.now - death < Duration::from_secs(60), "kept for ever");
        }
        let shown = world.now - death;
        assert!(
            shown <= Limits::default().idle_timeout + Duration::from_millis(1_300),
            "{shown:?}"
        );
        assert_eq!(world.closed(EndReason::IdleTimeout), 1);
    }
}

#[test]
fn who_lives_is_not_taken_for_dead_however_silent_the_room() {
    let lossy =
        Conditions { delay: Duration::from_millis(100), loss: 0.05, ..Conditions::default() };
    // The shortest that the configuration lets pass, and the default.
    for idle_timeout in [15, 20].map(Duration::from_secs) {
        for seed in 0..8 {
            let limits = Limits { idle_timeout, ..Limits::default() };
            let mut world = World::new(seed, 2, limits, lossy);
            for number in 0..10 {
                world.connect(number as u32 % 3, Opening::Hello(hello(number as u32 % 3, number)));
            }
            world.run_for(Duration::from_secs(300));
            let ended: Vec<_> =
                world.clients.iter().filter_map(|client| client.lost.as_ref()).collect();
            assert!(ended.is_empty(), "{idle_timeout:?}, seed {seed}: {ended:?}");
            assert_eq!(world.population().sessions, 10, "{idle_timeout:?}, seed {seed}");
        }
    }
}
