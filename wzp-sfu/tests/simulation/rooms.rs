//! Large rooms, many rooms, and members that cost the others nothing.

use std::time::Duration;

use wzp_proto::close::CloseCode;
use wzp_proto::control::Hello;
use wzp_sfu::count::reason::{DropReason, EndReason};
use wzp_sfu::ids::SessionId;
use wzp_sfu::limits::Limits;
use wzp_sfu::mail::ControlMail;

use wzp_sim::client::{Attention, Heard, Opening, hello};
use wzp_sim::world::{Conditions, KEEP_ENDED, World};

const FRAME: Duration = Duration::from_millis(20);

fn roomy() -> Limits {
    Limits { handshakes: 4000, ..Limits::default() }
}

fn path() -> Conditions {
    Conditions { delay: Duration::from_millis(10), ..Conditions::default() }
}

/// Connects clients to rooms and waits until everyone knows everyone.
fn assemble(world: &mut World, sizes: &[usize]) {
    for (room, size) in sizes.iter().enumerate() {
        for _ in 0..*size {
            let number = world.clients.len();
            world.connect(room as u32, Opening::Hello(hello(room as u32, number)));
        }
        world.run_for(Duration::from_millis(5));
    }
    assert!(world.run_until(Duration::from_secs(5), |world| {
        world.clients.iter().all(|client| client.members.len() + 1 == sizes[client.room as usize])
    }));
}

/// 500 clients, half in a hall with a few talkers, half in small calls.
#[test]
fn five_hundred_clients_lose_nothing() {
    let mut world = World::new(1, 3, roomy(), path());
    let mut sizes = vec![250];
    sizes.extend([5; 50]);
    assemble(&mut world, &sizes);
    assert_eq!(world.clients.len(), 500);
    let talkers: Vec<_> = (0..4).chain((250..500).step_by(2)).collect();
    for talker in &talkers {
        world.start_talking(*talker, FRAME);
    }
    world.run_for(Duration::from_millis(500));
    let sent: Vec<_> = world.clients.iter().map(|client| client.sent).collect();
    world.run_for(Duration::from_millis(60));
    let mut expected = 0;
    for client in &world.clients {
        for talker in talkers.iter().filter(|talker| **talker != client.number) {
            if world.clients[*talker].room == client.room {
                let heard = &client.heard[talker].sequences;
                let complete = (0..sent[*talker]).all(|sequence| heard.contains(&sequence));
                assert!(complete, "client {} lacks frames of {talker}", client.number);
                expected += heard.len() as u64;
            }
        }
    }
    let forwarded = world.sum(|stats| stats.media_packets_forwarded.get());
    assert!(forwarded >= expected, "{forwarded} counted, {expected} heard");
    let by_room: u64 = world.shared.rooms.scrape(world.now).iter().map(|total| total.packets).sum();
    assert_eq!(by_room, forwarded, "rooms' counts and the total disagree");
}

/// Members who talk one after the other, 3 ms apart, over two shards; the most
/// that a frame was on its way beyond the path, and frames per packet.
fn staggered(seed: u64, members: usize) -> (Duration, f64) {
    let mut world = World::new(seed, 2, roomy(), path());
    assemble(&mut world, &[members]);
    for talker in 0..members {
        world.start_talking(talker, FRAME);
        world.run_for(Duration::from_millis(3));
    }
    let before = |world: &World| {
        let packets = world.sum(|stats| stats.udp_packets_with_media.get());
        (world.sum(|stats| stats.media_packets_forwarded.get()), packets)
    };
    // By now each knows who talks.
    world.run_for(Duration::from_millis(100));
    let (frames, packets) = before(&world);
    for client in &mut world.clients {
        client.heard.clear();
    }
    world.run_for(Duration::from_secs(2));
    let (more_frames, more_packets) = before(&world);
    let latencies = world.clients.iter().flat_map(|client| client.heard.values());
    let longest = latencies.flat_map(|heard| &heard.latencies_us).max();
    let beyond = Duration::from_micros(*longest.unwrap()) - 2 * path().delay;
    (beyond, (more_frames - frames) as f64 / (more_packets - packets) as f64)
}

#[test]
fn frames_wait_for_company_and_no_longer_than_they_may() {
    // Mail between shards, and arrivals in steps of 100 us.
    const NETWORK: Duration = Duration::from_micros(300);
    for (seed, hold) in [(20, 0), (21, 1), (22, 2), (23, 3)] {
        assert_eq!(World::new(seed, 1, roomy(), path()).shared.hold, Duration::from_millis(hold));
        let (beyond, frames_per_packet) = staggered(seed, 5);
        println!("{hold} ms: {beyond:?} beyond the path, {frames_per_packet:.2} frames a packet");
        assert!(beyond <= Duration::from_millis(hold) + NETWORK, "{hold} ms: {beyond:?}");
        // Frames come 3 ms apart.
        assert_eq!(frames_per_packet > 1.2, hold == 3, "{hold} ms: {frames_per_packet}");
        // With one other member there is nobody to wait for.
        let (beyond, frames_per_packet) = staggered(seed, 2);
        assert!(beyond <= NETWORK, "{hold} ms, two members: {beyond:?}");
        assert!(frames_per_packet == 1.0, "{hold} ms, two members: {frames_per_packet}");
    }
}

/// A path that loses packets for other reasons than congestion must not be
/// taken for a full one: what the congestion window holds back is voice lost.
#[test]
fn random_loss_holds_back_no_frame_of_a_hall() {
    let lossy = Conditions { delay: Duration::from_millis(50), loss: 0.1, ..path() };
    let mut world = World::new(5, 2, roomy(), path());
    assemble(&mut world, &[20]);
    world.conditions = lossy;
    for talker in 0..14 {
        world.start_talking(talker, FRAME);
    }
    world.run_for(Duration::from_secs(20));
    assert!(world.sum(|stats| stats.media_packets_forwarded.get()) > 14 * 19 * 800);
    assert_eq!(world.dropped(DropReason::SendBuffer), 0);
}

/// A round trip of 800 ms and 5 % loss leave the congestion window's floor half
/// of what 14 talkers say.
#[test]
fn voice_that_a_path_cannot_carry_makes_way_and_does_not_come_late() {
    let far = Conditions { delay: Duration::from_millis(400), loss: 0.05, ..path() };
    let mut world = World::new(29, 1, roomy(), path());
    assemble(&mut world, &[20]);
    world.conditions = far;
    for talker in 0..14 {
        world.start_talking(talker, FRAME);
    }
    world.run_for(Duration::from_secs(20));
    assert!(world.dropped(DropReason::SendBuffer) > 0, "what made way is counted");
    let heard = world.clients.iter().flat_map(|client| client.heard.values());
    let latest = heard.flat_map(|heard| &heard.latencies_us).max();
    assert!(latest.is_some_and(|us| *us < 4_000_000), "{latest:?}");
}

/// What the 129 others hear must not depend on the 130th in any way.
fn others_hear(attention: Attention, limits: &Limits) -> (World, Vec<Vec<(usize, Heard)>>) {
    let mut world = World::new(7, 2, limits.clone(), path());
    assemble(&mut world, &[130]);
    for talker in 0..5 {
        world.start_talking(talker, FRAME);
    }
    world.run_for(Duration::from_millis(200));
    world.clients[129].attention = attention;
    world.run_for(Duration::from_secs(6));
    let mut heard = Vec::new();
    for client in world.clients.iter_mut().filter(|client| client.number != 129) {
        heard.push(std::mem::take(&mut client.heard).into_iter().collect());
    }
    (world, heard)
}

#[test]
fn member_that_stops_reading_costs_nobody_anything_and_is_dropped() {
    // One time-out bites in each case, long before the other.
    let silent = Limits { idle_timeout: Duration::from_secs(4), ..roomy() };
    let unread = Limits {
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(3),
        ..roomy()
    };
    for (attention, reason, limits) in [
        (Attention::None, EndReason::IdleTimeout, silent),
        (Attention::TransportOnly, EndReason::Unresponsive, unread),
    ] {
        let (_, undisturbed) = others_hear(Attention::Full, &limits);
        let (world, heard) = others_hear(attention, &limits);
        // Frame for frame and microsecond for microsecond.
        assert!(heard == undisturbed, "{attention:?}: the others heard something else");
        assert_eq!(world.closed(reason), 1, "{attention:?}");
        assert_eq!(world.population().sessions, 129);
        for client in &world.clients[..129] {
            assert_eq!(client.members.len(), 128, "the others were told");
        }
        if attention == Attention::None {
            assert!(world.dropped(DropReason::SendBuffer) > 0, "its media made way, counted");
        } else {
            assert_eq!(world.clients[129].close_code(), Some(CloseCode::Unresponsive));
        }
    }
}

#[test]
fn limits_of_room_and_relay_refuse_with_a_sentence() {
    let limits = Limits { room_members: 3, sessions: 5, ..roomy() };
    let mut world = World::new(3, 2, limits, path());
    assemble(&mut world, &[3, 1]);
    let fourth = world.connect(0, Opening::Hello(hello(0, 9)));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[fourth].close_code(), Some(CloseCode::RoomFull));
    assert_eq!(world.clients[fourth].close_text(), "the room is full: it takes 3 at most");
    let fifth = world.connect(1, Opening::Hello(hello(1, 9)));
    let sixth = world.connect(1, Opening::Hello(hello(1, 10)));
    world.run_for(Duration::from_secs(1));
    let codes: Vec<_> = [fifth, sixth].map(|client| world.clients[client].close_code()).into();
    assert!(codes.contains(&None) && codes.contains(&Some(CloseCode::ServerFull)), "{codes:?}");
    assert_eq!(world.population().sessions, 5);
}

/// Names of 128 bytes make the member list of 600 longer than a message may be.
#[test]
fn member_list_longer_than_a_message_comes_in_parts() {
    let mut world = World::new(19, 2, roomy(), path());
    for number in 0..600 {
        let name = format!("{number:0>128}");
        world.connect(0, Opening::Hello(Hello { name, ..hello(0, number) }));
        if number % 20 == 0 {
            world.run_for(Duration::from_millis(5));
        }
    }
    assert!(world.run_until(Duration::from_secs(5), |world| {
        world.clients.iter().all(|client| client.members.len() == 599)
    }));
    let late = world.connect(0, Opening::Hello(hello(0, 600)));
    assert!(
        world.run_until(Duration::from_secs(1), |world| {
            world.clients[late].members.len() == 600
        })
    );
    assert_eq!(world.clients[late].welcome.as_ref().unwrap().member_count, 600);
    assert_eq!(world.clients[late].lists, 2);
}

#[test]
fn draining_relay_tells_everyone_refuses_newcomers_and_ends_at_the_deadline() {
    // More than a shard tells in one turn.
    let mut world = World::new(11, 3, roomy(), path());
    assemble(&mut world, &[4, 60]);
    for client in 0..6 {
        world.start_talking(client, FRAME);
    }
    world.drain(Duration::from_secs(2));
    world.run_for(Duration::from_millis(500));
    assert!(world.clients.iter().all(|client| client.told_to_leave && client.lost.is_none()));
    let late = world.connect(0, Opening::Hello(hello(0, 64)));
    world.with_client(0, |client, now| client.leave(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[late].close_code(), Some(CloseCode::Draining));
    // The call goes on until the deadline.
    let heard = world.clients[1].heard[&2].sequences.len();
    world.run_for(Duration::from_millis(300));
    assert!(world.clients[1].heard[&2].sequences.len() >= heard + 14);
    world.run_for(Duration::from_secs(1));
    for client in &world.clients[1..64] {
        assert_eq!(client.close_code(), Some(CloseCode::GoingAway));
    }
    world.assert_nothing_left();
}

/// The drain is taken back while the call goes on, and again after all have been
/// closed.
#[test]
fn a_drain_that_is_taken_back_leaves_a_relay_as_before() {
    let mut world = World::new(17, 3, roomy(), path());
    assemble(&mut world, &[4, 60]);
    world.drain(Duration::from_secs(2));
    world.run_for(Duration::from_millis(500));
    assert!(world.clients.iter().all(|client| client.told_to_leave));
    world.tell_shards(|| ControlMail::Undrain);
    // Beyond the deadline.
    world.run_for(Duration::from_secs(3));
    assert!(world.clients.iter().all(|client| !client.told_to_leave && client.lost.is_none()));
    let late = world.connect(0, Opening::Hello(hello(0, 64)));
    world.run_for(Duration::from_millis(500));
    assert!(world.clients[late].welcome.is_some());

    world.drain(Duration::from_millis(100));
    world.run_for(Duration::from_secs(1));
    assert!(world.clients.iter().all(|c| c.close_code() == Some(CloseCode::GoingAway)));
    world.tell_shards(|| ControlMail::Undrain);
    let again = world.connect(0, Opening::Hello(hello(0, 65)));
    world.run_for(Duration::from_millis(500));
    assert!(world.clients[again].welcome.is_some() && !world.clients[again].told_to_leave);
}

#[test]
fn a_session_is_kicked_on_whatever_shard_and_hears_why() {
    let mut world = World::new(19, 3, roomy(), path());
    assemble(&mut world, &[3]);
    let session = SessionId(world.clients[1].welcome.as_ref().unwrap().session_id);
    world.tell_shards(|| ControlMail::Kick { session, text: "too loud".into() });
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.clients[1].close_code(), Some(CloseCode::Kicked));
    assert!(format!("{:?}", world.clients[1].lost).contains("too loud"));
    for other in [0, 2] {
        assert!(world.clients[other].lost.is_none());
        assert_eq!(world.clients[other].members.len(), 1);
    }
    assert_eq!(world.closed(EndReason::Kicked), 1);
}

/// 500 rooms of 4, five times over with everybody leaving in between, would
/// take 10,000 handshakes; churn of 4 x 100 finds the same leaks.
#[test]
fn rooms_come_and_go_without_a_trace() {
    let mut world = World::new(13, 4, roomy(), path());
    for round in 0..3u32 {
        let first = world.clients.len();
        for number in 0..100 {
            let room = round * 1000 + number % 25;
            let client = world.connect(room, Opening::Hello(hello(room, number as usize)));
            world.start_talking(client, FRAME);
            if number % 3 == 0 {
                world.run_for(Duration::from_millis(7));
            }
        }
        world.run_for(Duration::from_millis(300));
        assert_eq!(world.population().sessions, 100);
        for client in first..world.clients.len() {
            world.with_client(client, |client, now| client.leave(now));
            if client % 7 == 0 {
                world.run_for(Duration::from_millis(3));
            }
        }
        world.run_for(Duration::from_secs(1));
        world.assert_nothing_left();
    }
    // Ended rooms are shown for some time, then no more.
    let series = [Duration::ZERO, KEEP_ENDED / 2, KEEP_ENDED]
        .map(|after| world.shared.rooms.scrape(world.now + after).len());
    assert_eq!(series, [75, 75, 0]);
}
