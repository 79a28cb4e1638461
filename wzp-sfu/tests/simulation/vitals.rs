//! What the relay says of a session, against what the network did to it.

use std::time::Duration;

use wzp_proto::control::{ReceiverReport, SourceReport, client_message::Message};
use wzp_sfu::count::sessions::SessionReading;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);

/// Two clients in a room, each `delay` away from the relay.
fn pair(seed: u64, delay: Duration) -> World {
    let conditions = Conditions { delay, ..Conditions::default() };
    let mut world = World::new(seed, 2, Limits::default(), conditions);
    for number in 0..2 {
        world.connect(0, Opening::Hello(hello(0, number)));
    }
    let together = |world: &World| world.clients.iter().all(|client| client.members.len() == 1);
    assert!(world.run_until(Duration::from_secs(5), together));
    world
}

/// What the relay knows of a client that is in a room.
fn reading(world: &World, client: usize) -> SessionReading {
    let name = format!("client {client}");
    let mut list = world.shared.sessions.list().into_iter();
    list.find(|reading| reading.participant.name == name).unwrap()
}

fn rtt_ms(world: &World, client: usize) -> f64 {
    reading(world, client).rtt.unwrap().as_secs_f64() * 1e3
}

#[test]
fn loss_is_that_of_the_last_minute_whatever_address_it_came_from() {
    let mut world = pair(1, Duration::from_millis(40));
    assert_eq!(reading(&world, 0).loss_rx, None, "nothing was sent");
    world.clients[0].loses_every = Some(20);
    world.start_talking(0, FRAME);
    world.start_talking(1, FRAME);
    for _ in 0..3 {
        world.run_for(Duration::from_secs(30));
        world.rebind(0);
    }
    let percent = reading(&world, 0).loss_rx.unwrap() * 1e2;
    assert!((percent - 5.0).abs() <= 0.1, "{percent} %");
    assert_eq!(reading(&world, 1).loss_rx, Some(0.0));
    world.clients[0].loses_every = None;
    world.run_for(Duration::from_secs(62));
    assert_eq!(reading(&world, 0).loss_rx, Some(0.0), "it was longer ago");
}

/// The path's loss is random: of 6,000 packets 5 % is 300, give or take 17.
#[test]
fn loss_on_the_way_to_a_client_is_what_quic_missed() {
    let mut world = pair(6, Duration::from_millis(20));
    world.conditions.loss = 0.05;
    for client in 0..2 {
        world.start_talking(client, FRAME);
    }
    world.run_for(Duration::from_secs(120));
    let mut lost = 0;
    for client in 0..2 {
        let SessionReading { packets_sent, packets_lost, congestion_window, .. } =
            reading(&world, client);
        let percent = packets_lost as f64 / packets_sent as f64 * 1e2;
        assert!((percent - 5.0).abs() <= 1.0, "client {client}: {percent} %");
        assert!(congestion_window.is_some_and(|bytes| bytes >= 32 * 1024), "{congestion_window:?}");
        lost += packets_lost;
    }
    assert_eq!(world.sum(|stats| stats.session_packets_lost.get()), lost);
    assert!(world.sum(|stats| stats.session_congestion_events.get()) > 0);
    // What has been told stays told when a session ends.
    world.with_client(0, |client, now| client.leave(now));
    world.run_for(Duration::from_secs(10));
    assert!(world.sum(|stats| stats.session_packets_lost.get()) >= lost);
}

#[test]
fn loss_is_forgotten_while_its_sender_is_silent() {
    let mut world = pair(2, Duration::from_millis(5));
    world.clients[0].loses_every = Some(2);
    for _ in 0..100 {
        world.with_client(0, |client, now| client.talk(now));
        world.run_for(FRAME);
    }
    // The next ping shows what is there.
    world.run_for(Limits::default().ping_interval);
    let percent = reading(&world, 0).loss_rx.unwrap() * 1e2;
    assert!((percent - 50.0).abs() <= 0.6, "{percent} %");
    world.run_for(Duration::from_secs(60) + Limits::default().ping_interval);
    assert_eq!(reading(&world, 0).loss_rx, None);
}

#[test]
fn round_trip_is_that_of_the_path() {
    let mut world = pair(3, Duration::from_millis(40));
    world.start_talking(0, FRAME);
    world.run_for(Duration::from_secs(5));
    for client in 0..2 {
        let ms = rtt_ms(&world, client);
        assert!((ms - 80.0).abs() <= 3.0, "client {client}: {ms} ms");
    }
}

#[test]
fn round_trip_of_a_new_path_is_measured_and_not_guessed() {
    let mut world = pair(7, Duration::from_millis(40));
    world.start_talking(0, FRAME);
    world.start_talking(1, FRAME);
    world.run_for(Duration::from_secs(3));
    world.move_to(0, [10, 9, 9, 9].into());
    for _ in 0..20 {
        // Each report shows what is there, also before the path's first answer.
        world.with_client(0, |client, _| client.report(50, 0));
        world.run_for(Duration::from_millis(10));
        let ms = rtt_ms(&world, 0);
        assert!((ms - 80.0).abs() <= 5.0, "{ms} ms");
    }
    let rtt = world.shared.sessions.distributions.rtt.reading();
    let within = rtt.bounds.iter().position(|bound| *bound == 0.1).unwrap();
    assert_eq!(rtt.counts[within], *rtt.counts.last().unwrap(), "{rtt:?}");
}

#[test]
fn round_trip_of_a_silent_pair_is_measured_by_each_ping() {
    let mut world = pair(4, Duration::from_millis(40));
    world.run_for(Duration::from_secs(1));
    let before = [rtt_ms(&world, 0), rtt_ms(&world, 1)];
    world.conditions.delay = Duration::from_millis(80);
    // One ping and its answer; an eighth of the change (RFC 9002 section 5.3).
    world.run_for(Limits::default().ping_interval);
    for (client, before) in before.into_iter().enumerate() {
        let ms = rtt_ms(&world, client);
        assert!((before - 80.0).abs() <= 3.0 && ms >= before + 8.0, "{before} ms, then {ms} ms");
    }
}

#[test]
fn what_a_client_reports_of_its_buffers_is_shown() {
    let mut world = pair(5, Duration::from_millis(5));
    assert_eq!(reading(&world, 1).underruns, None, "it has not reported");
    world.with_client(0, |client, now| client.talk(now));
    world.run_for(FRAME);
    let talker = u32::from(world.clients[0].sender_id().unwrap());
    let source = SourceReport {
        sender_id: talker,
        buffer_depth_ms: 45,
        jitter_us: 8_000,
        underruns: 3,
        overruns: 1,
        ..SourceReport::default()
    };
    let report = ReceiverReport { sources: vec![source] };
    world.with_client(1, |client, _| client.say(Message::ReceiverReport(report)));
    world.run_for(Duration::from_millis(50));
    let SessionReading { buffer_depth, jitter, underruns, overruns, .. } = reading(&world, 1);
    assert_eq!((underruns, overruns), (Some(3), Some(1)));
    let ms = |ms| Some(Duration::from_millis(ms));
    assert_eq!((buffer_depth, jitter), (ms(45), ms(8)));
}

#[test]
fn a_session_is_listed_with_where_it_is() {
    let mut world = pair(6, Duration::from_millis(5));
    world.start_talking(0, FRAME);
    world.run_for(Duration::from_secs(2));
    world.rebind(0);
    world.run_for(Duration::from_secs(2));
    let client = &world.clients[0];
    let reading = reading(&world, 0);
    let participant = &reading.participant;
    assert_eq!((participant.peer, &*participant.room), (client.address, "room 0"));
    assert_eq!(participant.id.0, client.welcome.as_ref().unwrap().session_id);
    assert!(reading.frames_received + 55 > u64::from(client.sent), "shown once a second");
    let heard = world.clients[1].heard[&0].sequences.len() as u64;
    let shown = self::reading(&world, 1).frames_forwarded;
    assert!(shown <= heard + 1 && shown + 55 > heard, "{shown} shown, {heard} heard");
}

#[test]
fn a_silent_client_that_nobody_asks_keeps_its_session_over_a_lossy_path() {
    let limits = Limits { ping_interval: Duration::from_secs(3600), ..Limits::default() };
    let delay = Duration::from_millis(40);
    let mut world = World::new(8, 2, limits, Conditions { delay, ..Conditions::default() });
    for number in 0..20 {
        world.connect(0, Opening::Hello(hello(0, number)));
    }
    let together = |world: &World| world.clients.iter().all(|client| client.members.len() == 19);
    assert!(world.run_until(Duration::from_secs(5), together));
    world.conditions.loss = 0.1;
    world.run_for(Duration::from_secs(300));
    let lost: Vec<_> = world.clients.iter().filter_map(|client| client.lost.as_ref()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(world.population().sessions, 20);
}
