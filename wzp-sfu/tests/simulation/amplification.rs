//! What strangers can have sent to addresses that are not theirs: never more than
//! three times what they sent (RFC 9000 section 8.1).

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Client, Opening, Origin, hello};
use wzp_sim::world::{Conditions, World};

/// The address of somebody who has asked for nothing.
const VICTIM: &str = "203.0.113.7:999";

/// What a client sends first, and what else before it has heard anything.
fn first_packets(world: &mut World, count: usize) -> Vec<Vec<u8>> {
    let origin = Origin {
        number: 0,
        address: VICTIM.parse().unwrap(),
        relay: "192.0.2.1:4433".parse().unwrap(),
        room: 0,
        seed: world.rng.random(),
        start: world.start,
    };
    let mut client = Client::connect(origin, Opening::Silence, world.now);
    let mut packets = Vec::new();
    let mut now = world.now;
    while packets.len() < count {
        client.drive(now, |_, bytes| packets.push(bytes));
        now = client.next_timeout().unwrap();
        client.handle_timeout(now);
    }
    packets.truncate(count);
    packets
}

/// Bytes that came from the victim's address and went there.
fn traffic(world: &World) -> [u64; 2] {
    let traffic = world.traffic.get(&VICTIM.parse().unwrap()).copied().unwrap_or_default();
    [traffic.came, traffic.went]
}

/// Another version in the packet's header.
fn of_version(mut packet: Vec<u8>, version: [u8; 4]) -> Vec<u8> {
    packet[1..5].copy_from_slice(&version);
    packet
}

#[test]
fn nobody_is_sent_more_than_three_times_what_came_from_there() {
    let crowded = Limits { handshakes: 2, ..Limits::default() };
    let refusing = Limits { sessions_per_address: 1, ..Limits::default() };
    type Packets = fn(&mut World) -> Vec<Vec<u8>>;
    let cases: [(&str, &Limits, Packets); 10] = [
        ("one first packet", &Limits::default(), |world| first_packets(world, 1)),
        ("as a client repeats it", &Limits::default(), |world| first_packets(world, 3)),
        ("the same again", &Limits::default(), |world| {
            let first = first_packets(world, 1);
            [&first[..], &first[..], &first[..]].concat()
        }),
        ("ten clients'", &Limits::default(), |world| {
            (0..10).flat_map(|_| first_packets(world, 1)).collect()
        }),
        ("with rubbish behind it", &Limits::default(), |world| {
            let mut first = first_packets(world, 1);
            first[0].extend([0xe0; 200]);
            first
        }),
        ("with rubbish in it", &Limits::default(), |world| {
            let mut first = first_packets(world, 1);
            first[0][600] ^= 1;
            first
        }),
        ("Retry", &crowded, |world| (0..6).flat_map(|_| first_packets(world, 1)).collect()),
        ("refusal", &refusing, |world| (0..6).flat_map(|_| first_packets(world, 1)).collect()),
        ("unknown version", &Limits::default(), |world| {
            let first = first_packets(world, 1).remove(0);
            let [one, two] = [0xff00_0001u32, 0x0a0a_0a0a].map(u32::to_be_bytes);
            let short = of_version(first[..1199].to_vec(), one);
            vec![of_version(first.clone(), one), of_version(first, two), short]
        }),
        ("of an unknown connection", &Limits::default(), |_| {
            (17..80).map(|length| vec![0x4f; length]).collect()
        }),
    ];
    for (case, limits, packets) in cases {
        let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
        let mut world = World::new(31, 2, (*limits).clone(), conditions);
        let from: SocketAddr = VICTIM.parse().unwrap();
        for packet in packets(&mut world) {
            world.inject(from, packet);
            world.run_for(Duration::from_millis(100));
            let [came, went] = traffic(&world);
            assert!(went <= 3 * came, "{case}: {went} bytes for {came}");
        }
        // Until all has been repeated and given up.
        for _ in 0..60 {
            world.run_for(Duration::from_secs(1));
            let [came, went] = traffic(&world);
            assert!(went <= 3 * came, "{case}: {went} bytes for {came}");
        }
        let [came, went] = traffic(&world);
        println!("{case}: {went} bytes for {came}, {:.2}", went as f64 / came as f64);
        world.assert_nothing_left();
    }
}

/// Packets of a client that says from elsewhere what belongs to a handshake begun at
/// the victim's address do not pay for what goes there.
#[test]
fn what_comes_from_elsewhere_is_not_the_victims() {
    let mut world = World::new(37, 1, Limits::default(), Conditions::default());
    let packets = first_packets(&mut world, 4);
    let elsewhere: SocketAddr = "198.51.100.9:999".parse().unwrap();
    world.inject(VICTIM.parse().unwrap(), packets[0].clone());
    for packet in &packets[1..] {
        world.run_for(Duration::from_millis(300));
        world.inject(elsewhere, packet.clone());
    }
    world.run_for(Duration::from_secs(30));
    let [came, went] = traffic(&world);
    assert!(went <= 3 * came, "{went} bytes for {came}");
}

/// A member says, in short packets with foreign addresses, that it has moved: each time
/// the relay asks there whether that is so, with 1200 bytes (RFC 9000 section 8.2.1).
#[test]
fn a_member_that_moves_to_foreign_addresses_has_little_sent_there() {
    let conditions = Conditions { delay: Duration::from_millis(10), ..Conditions::default() };
    let mut world = World::new(39, 1, Limits::default(), conditions);
    let member = world.connect(0, Opening::Hello(hello(0, 0)));
    world.run_for(Duration::from_secs(1));
    let victim = |number: u32| SocketAddr::from(([203, 0, 113, number as u8], 999));
    for number in 0..200 {
        let now = world.now;
        let mut packets = Vec::new();
        world.clients[member].talk(now);
        world.clients[member].drive(now, |_, bytes| packets.push(bytes));
        for packet in packets {
            world.inject(victim(number), packet);
        }
        world.run_for(Duration::from_millis(50));
    }
    let traffic = (0..200).filter_map(|number| world.traffic.get(&victim(number)));
    let went: u64 = traffic.map(|traffic| traffic.went).sum();
    // Ten seconds, and as for what is asked at the address before: that is another's, too.
    let refused = world.sum(|stats| stats.moves_refused.get());
    println!("{went} bytes, {refused} refused");
    assert!(went <= (5 + 10) * 2 * 1300, "{went} bytes");
    assert!(refused > 0);
}

/// What holds packets back keeps nobody out: not on a path where much is lost, and
/// none that the handshake needs.
#[test]
fn who_proves_its_address_joins_however_much_is_lost() {
    for seed in 0..40 {
        let lossy =
            Conditions { loss: 0.2, delay: Duration::from_millis(100), ..Conditions::default() };
        let long = Duration::from_secs(30);
        let limits = Limits { handshake_timeout: long, hello_timeout: long, ..Limits::default() };
        let mut world = World::new(seed, 1, limits, lossy);
        let client = world.connect(0, Opening::Hello(hello(0, 0)));
        let joined = |world: &World| world.clients[client].welcome.is_some();
        let in_time = world.run_until(Duration::from_secs(60), joined);
        assert!(in_time, "seed {seed}: {}", world.clients[client].close_text());
    }
}
