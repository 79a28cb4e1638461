//! Who gets in when there is not room for all: no household closes the relay, no
//! stranger ends a call, and whoever comes back does not find his own ghost in his
//! place.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::time::Duration;

use wzp_proto::close::CloseCode;
use wzp_proto::control::Hello;
use wzp_sfu::access::{AuthRequest, Grant, Refusal};
use wzp_sfu::count::reason::{EndReason, HandshakeFailure, RefuseReason};
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Attention, Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

fn world(limits: Limits) -> World {
    let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
    World::new(41, 3, limits, conditions)
}

/// Clients of one host in rooms of four.
fn office(world: &mut World, host: IpAddr, count: usize) -> Range<usize> {
    let first = world.clients.len();
    for number in first..first + count {
        let room = 1000 + (number / 4) as u32;
        world.connect_from(host, room, Opening::Hello(hello(room, number)));
    }
    first..first + count
}

/// Two who talk, elsewhere, and lose nothing.
fn call(world: &mut World) -> [usize; 2] {
    let call = [1, 2].map(|host| {
        world.connect_from([192, 0, 2, 100 + host], 0, Opening::Hello(hello(0, host.into())))
    });
    world.run_for(Duration::from_millis(300));
    for client in call {
        world.start_talking(client, FRAME);
    }
    call
}

fn assert_lost_nothing(world: &mut World, call: [usize; 2]) {
    let sent = call.map(|client| world.clients[client].sent);
    world.run_for(Duration::from_millis(100));
    for (listener, talker) in [(0, 1), (1, 0)] {
        let heard = &world.clients[call[listener]].heard[&call[talker]].sequences;
        assert!((0..sent[talker]).all(|sequence| heard.contains(&sequence)), "lost frames");
    }
}

fn joined(world: &World, clients: impl IntoIterator<Item = usize>) -> usize {
    clients.into_iter().filter(|client| world.clients[*client].welcome.is_some()).count()
}

#[test]
fn an_office_that_comes_back_is_in_at_once() {
    let host = IpAddr::from([198, 51, 100, 7]);
    let second = Duration::from_secs(1);
    // Who may come from the address, whether its rooms talk, and how long it was away.
    for (per_address, talk, away) in [
        (256, true, 5 * second),
        (200, true, 5 * second),
        (200, false, 15 * second),
        (256, false, second / 2),
        (200, false, second / 2),
        (200, true, second / 2),
    ] {
        let case = format!("{per_address} may come, talk {talk}, {away:?} away");
        let mut world = world(Limits { sessions_per_address: per_address, ..Limits::default() });
        let call = call(&mut world);
        let ghosts = office(&mut world, host, 200);
        world.run_for(3 * second);
        assert_eq!(joined(&world, ghosts.clone()), 200, "{case}");
        for client in ghosts.clone().filter(|_| talk) {
            world.start_talking(client, FRAME);
        }
        world.run_for(second);
        for client in ghosts.clone() {
            world.clients[client].attention = Attention::None;
        }
        world.run_for(away);
        let again = office(&mut world, host, 200);
        let all = |world: &World| joined(world, again.clone()) == 200;
        let in_time = world.run_until(second, all);
        assert!(in_time, "{case}: {} are back", joined(&world, again.clone()));
        // No more had to go than had to, and none that lives.
        let replaced = world.closed(EndReason::Replaced);
        assert!(replaced >= u64::from(400 - per_address), "{case}: {replaced}");
        world.run_for(30 * second);
        assert_eq!(world.population().sessions, 202, "{case}");
        assert_eq!(world.closed(EndReason::Replaced), replaced, "{case}");
        assert_eq!(world.closed(EndReason::Preempted), 0, "{case}");
        assert_lost_nothing(&mut world, call);
    }
}

#[test]
fn sessions_that_live_are_not_replaced_however_many_come() {
    let host = IpAddr::from([198, 51, 100, 7]);
    let mut world = world(Limits { sessions_per_address: 40, ..Limits::default() });
    let call = call(&mut world);
    let living = office(&mut world, host, 40);
    world.run_for(Duration::from_secs(3));
    // Half talk, and half only listen to nobody.
    for client in living.clone().filter(|client| client / 4 % 2 == 0) {
        world.start_talking(client, FRAME);
    }
    for _ in 0..20 {
        let more = office(&mut world, host, 10);
        world.run_for(Duration::from_secs(4));
        for client in more {
            let gone = format!("{:?}", world.clients[client].lost);
            assert!(gone.contains("CONNECTION_REFUSED"), "told within 4 s: {gone}");
        }
    }
    assert!(living.clone().all(|client| world.clients[client].lost.is_none()));
    assert_eq!(world.closed(EndReason::Replaced), 0);
    let refused = |reason| world.sum(|stats| stats.connections_refused[reason].get());
    assert_eq!(refused(RefuseReason::Address), 200);
    assert_lost_nothing(&mut world, call);
}

/// The /64 with that number of a /58, which is a quarter of a /56 and more.
fn household(number: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 7, number, 0, 0, 0, 1).into()
}

#[test]
fn forty_subscribers_of_one_household_do_not_fill_the_relay() {
    let mut world = world(Limits {
        sessions: 60,
        sessions_per_address: 4,
        sessions_per_site: 8,
        sessions_per_network: 15,
        ..Limits::default()
    });
    let call = call(&mut world);
    for subscriber in 0..40 {
        office(&mut world, household(subscriber), 4);
        world.run_for(Duration::from_millis(50));
    }
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.population().sessions, 8 + 2, "one /58 is in one /56");
    for site in 1..40 {
        office(&mut world, household(site << 8), 4);
        world.run_for(Duration::from_millis(50));
    }
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.population().sessions, 15 + 2);
    let refused = |reason| world.sum(|stats| stats.connections_refused[reason].get());
    assert!(refused(RefuseReason::Site) >= 150 && refused(RefuseReason::Network) >= 140);
    for host in 0..43 {
        office(&mut world, [100, 64, host, 1].into(), 1);
    }
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.population().sessions, 60);
    assert_lost_nothing(&mut world, call);
}

#[test]
fn eight_subscribers_do_not_close_the_way_in() {
    let mut world = world(Limits { handshakes: 160, ..Limits::default() });
    let call = call(&mut world);
    for subscriber in 0..8 {
        for _ in 0..40 {
            world.connect_from(household(subscriber << 12), 0, Opening::Silence);
        }
    }
    world.run_for(Duration::from_secs(1));
    assert!(world.population().handshakes <= 80 + 10, "{:?}", world.population());
    let newcomers: Vec<_> =
        (0..40).flat_map(|host| office(&mut world, [100, 64, host, 1].into(), 1)).collect();
    world.run_for(Duration::from_secs(1));
    assert_eq!(joined(&world, newcomers), 40);
    assert_lost_nothing(&mut world, call);
}

#[test]
fn when_the_way_in_is_full_the_oldest_of_the_heaviest_makes_way() {
    let limits =
        Limits { handshakes: 20, hello_timeout: Duration::from_secs(60), ..Limits::default() };
    let mut world = world(limits);
    let heavy: Vec<_> =
        (0..10).map(|_| world.connect_from([198, 51, 100, 7], 0, Opening::Silence)).collect();
    world.run_for(Duration::from_millis(200));
    for host in 0..10 {
        world.connect_from([100, 64, host, 1], 0, Opening::Silence);
    }
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.population().handshakes, 20);
    let newcomers: Vec<_> =
        (50..54).flat_map(|host| office(&mut world, [100, 64, host, 1].into(), 1)).collect();
    world.run_for(Duration::from_secs(1));
    assert_eq!(joined(&world, newcomers), 4);
    let gone: Vec<_> =
        heavy.iter().filter(|client| world.clients[**client].lost.is_some()).collect();
    assert!((1..=4).contains(&gone.len()), "{gone:?}");
    for client in &gone {
        let text = world.clients[**client].close_text();
        assert!(text.contains("too many are on their way"), "{text}");
        assert_eq!(world.clients[**client].close_code(), Some(CloseCode::Preempted));
    }
    assert_eq!(world.closed(EndReason::Preempted), gone.len() as u64);
    assert_eq!(world.sum(|stats| stats.handshake_failures[HandshakeFailure::Preempted].get()), 0);
}

#[test]
fn a_full_relay_has_room_for_others_and_no_call_pays_for_it() {
    let mut world = world(Limits { sessions: 42, ..Limits::default() });
    let host = IpAddr::from([198, 51, 100, 7]);
    let call = call(&mut world);
    // Of the heaviest address ten rooms, of which three talk.
    let heavy = office(&mut world, host, 40);
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.population().sessions, 42);
    let talkers: Vec<_> = heavy.clone().filter(|client| client / 4 % 4 == 1).collect();
    // One talks in each, and the others hear it.
    for client in talkers.iter().filter(|client| **client % 4 == 0) {
        world.start_talking(*client, FRAME);
    }
    world.run_for(Duration::from_secs(10));
    let early = office(&mut world, [100, 64, 0, 1].into(), 1);
    world.run_for(Duration::from_secs(3));
    assert_eq!(
        world.clients[early.start].close_code(),
        Some(CloseCode::ServerFull),
        "not idle yet"
    );
    world.run_for(Duration::from_secs(25));
    let newcomers: Vec<_> =
        (0..20).flat_map(|host| office(&mut world, [100, 64, host, 1].into(), 1)).collect();
    world.run_for(Duration::from_secs(3));
    let ends: Vec<_> = newcomers.iter().map(|client| world.clients[*client].close_text()).collect();
    assert_eq!(joined(&world, newcomers.clone()), 20, "{ends:?}");
    assert_eq!(world.population().sessions, 42);
    let gone: Vec<_> =
        heavy.clone().filter(|client| world.clients[*client].lost.is_some()).collect();
    assert_eq!(gone.len(), 20);
    for client in &gone {
        assert_eq!(world.clients[*client].close_code(), Some(CloseCode::Preempted));
        assert!(world.clients[*client].close_text().starts_with("this relay is full"));
        assert!(!talkers.contains(client), "{client} was in a call");
    }
    // Who has as many as the heaviest gets no place of it.
    let neighbour = office(&mut world, host, 1);
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.clients[neighbour.start].close_code(), Some(CloseCode::ServerFull));
    assert_lost_nothing(&mut world, call);
}

/// Everybody is who the token says.
fn by_name(
    request: &AuthRequest,
    _: std::time::Instant,
) -> Option<(Duration, Result<Grant, Refusal>)> {
    let user = Some(request.token.reveal().into());
    Some((Duration::from_millis(5), Ok(Grant { user, ..Grant::EVERYTHING })))
}

#[test]
fn who_moves_to_another_network_takes_the_place_of_his_own_ghost() {
    let mut world = world(Limits { sessions: 5, ..Limits::default() });
    world.shared.auth.set(Some(Duration::from_secs(2)));
    world.authenticator = Some(by_name);
    let connect = |world: &mut World, host: u8, user: &str| {
        let number = world.clients.len();
        let hello = Hello { token: user.into(), ..hello(0, number) };
        world.connect_from([100, 64, host, 1], 0, Opening::Hello(hello))
    };
    let there: Vec<_> =
        (0..5).map(|host| connect(&mut world, host, &format!("user {host}"))).collect();
    world.run_for(Duration::from_secs(1));
    world.start_talking(there[0], FRAME);
    world.run_for(Duration::from_secs(1));
    world.clients[there[3]].attention = Attention::None;
    world.run_for(Duration::from_secs(4));
    let [other, same] = ["somebody", "user 3"]
        .map(|user| connect(&mut world, if user == "user 3" { 9 } else { 8 }, user));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[other].close_code(), Some(CloseCode::ServerFull));
    assert!(world.clients[same].welcome.is_some());
    assert_eq!(world.closed(EndReason::Replaced), 1);
    let alive = there.iter().filter(|client| world.clients[**client].lost.is_none());
    assert_eq!(alive.count(), 5, "the ghost has not heard of it");
    assert_eq!(world.population().sessions, 5);
}
