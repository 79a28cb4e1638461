//! The programs on interfaces, with real sockets: what the kernel counted
//! against what was sent and arrived.

use std::io;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use aya::programs::XdpMode;
use wzp_common::reason::{Direction, Reason};
use wzp_kernel::{Error, Hook, Kernel, Mode, Options, Statistics, Totals};
use wzp_testbed::netns::{Family, Host, Namespace};
use wzp_testbed::skip;

use crate::scene::{
    INTERFACE, Occupied, PATIENCE, PORT, Scene, header_len, options, reason, receive, send,
    send_joined, set_option, socket, status,
};

/// What both sides sent each other, and what the kernel says about it.
fn exchange(scene: &Scene, kernel: &mut Kernel, family: Family) {
    let (relay, peer) = (scene.relay_socket(family), scene.peer_socket(family));
    let address = peer.local_addr().unwrap();
    let session = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    let before = kernel.reader().statistics();
    // Nobody knows the peer yet.
    send(&peer, &relay, &[1200]);
    kernel.open(session, address, Instant::now());
    let inbound = [1, 30, 100, 1200, 1472 - 20];
    let outbound = [0, 33, 999];
    send(&peer, &relay, &inbound);
    send(&relay, &peer, &outbound);
    // Ten segments each way, the last one shorter.
    send_joined(&peer, &relay, 9 * 1200 + 77, 1200);
    send_joined(&relay, &peer, 9 * 1100 + 1, 1100);
    let header = header_len(family);
    let sum = |lengths: &[usize]| lengths.iter().sum::<usize>() as u64;
    let expected = Totals {
        rx_packets: 5 + 10,
        rx_bytes: sum(&inbound) + 9 * 1200 + 77 + 15 * header,
        tx_packets: 3 + 10,
        tx_bytes: sum(&outbound) + 9 * 1100 + 1 + 13 * header,
    };
    assert_eq!(
        kernel.reader().session(session),
        Some(expected),
        "{family:?} {:#?}",
        kernel.reader().statistics()
    );
    let after = kernel.reader().statistics();
    let unknown = Totals { rx_packets: 1, rx_bytes: 1200 + header, ..Totals::default() };
    assert_eq!(after.unattributed.since(before.unattributed), unknown);
    assert_eq!(after.attributed.plus(after.unattributed), after.counted);
}

#[test]
fn xdp_counts_to_the_byte() {
    if !skip::have_namespaces("xdp_counts_to_the_byte") {
        return;
    }
    let scene = Scene::new();
    let mut kernel = scene.start();
    let status = status(&kernel);
    assert_eq!((status.rx, status.tx), (Hook::XdpDriver, Hook::TcxEgress));
    assert_eq!(status.rx_fallback, None);
    assert!(kernel.is_counting());
    exchange(&scene, &mut kernel, Family::V4);
    exchange(&scene, &mut kernel, Family::V6);
}

#[test]
fn tcx_counts_to_the_byte_where_xdp_is_taken() {
    if !skip::have_namespaces("tcx_counts_to_the_byte_where_xdp_is_taken") {
        return;
    }
    let scene = Scene::new();
    let occupied = scene.occupy_xdp();
    let mut kernel = scene.start();
    let status = status(&kernel);
    assert_eq!((status.rx, status.tx), (Hook::TcxIngress, Hook::TcxEgress));
    assert!(status.rx_fallback.unwrap().contains("busy"));
    // With an XDP program on it, the interface gets no joined frames: now it
    // does.
    drop(occupied);
    let before = interface_packets(scene.relay());
    exchange(&scene, &mut kernel, Family::V4);
    exchange(&scene, &mut kernel, Family::V6);
    // Else this would not test what it should: the interface counts joined
    // frames as one.
    let after = interface_packets(scene.relay());
    let counted = kernel.reader().statistics().counted;
    assert!(after.0 - before.0 < counted.rx_packets, "no joined frames came in");
    assert!(after.1 - before.1 < counted.tx_packets, "no joined frames went out");
}

/// The kernel shows frames without their Ethernet header to TCX programs behind
/// a generic XDP program: better no counts than wrong ones.
#[test]
fn behind_generic_xdp_of_another_nothing_is_counted() {
    if !skip::have_namespaces("behind_generic_xdp_of_another_nothing_is_counted") {
        return;
    }
    let scene = Scene::new();
    let occupied = scene.relay().namespace.run(|| Occupied::new(XdpMode::Skb));
    let start = |options: &Options| scene.relay().namespace.run(|| Kernel::start(options));
    assert!(matches!(start(&options()).err(), Some(Error::GenericXdp { .. })));
    let mut kernel = start(&Options { mode: Mode::Auto, ..options() }).unwrap();
    assert!(!kernel.is_counting());
    assert!(status(&kernel).error.unwrap().contains("generic XDP"));
    // It need not stay so. A process that another test is just starting may hold
    // the link a moment longer.
    drop(occupied);
    let deadline = Instant::now() + PATIENCE;
    while status(&kernel).rx != Hook::XdpDriver {
        assert!(Instant::now() < deadline, "{:?}", status(&kernel));
        scene.relay().namespace.run(|| kernel.check(Instant::now()));
    }
    exchange(&scene, &mut kernel, Family::V4);
}

#[test]
fn the_loopback_has_no_driver_and_counts_all_the_same() {
    if !skip::have_namespaces("the_loopback_has_no_driver_and_counts_all_the_same") {
        return;
    }
    let namespace = Namespace::new("loopback").unwrap();
    let options = Options { interfaces: vec!["lo".to_owned()], ..options() };
    let mut kernel = namespace.run(|| Kernel::start(&options)).unwrap();
    assert_eq!(status(&kernel).rx, Hook::TcxIngress);
    let bind = |address: &str| {
        let socket = namespace.run(|| UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let (relay, peer) = (bind("127.0.0.1:4433"), bind("127.0.0.1:0"));
    kernel.open(1, peer.local_addr().unwrap(), Instant::now());
    send_joined(&peer, &relay, 3000, 1000);
    send(&relay, &peer, &[50]);
    let expected = Totals {
        rx_packets: 3,
        rx_bytes: 3000 + 3 * header_len(Family::V4),
        tx_packets: 1,
        tx_bytes: 50 + header_len(Family::V4),
    };
    assert_eq!(kernel.reader().session(1), Some(expected));
}

#[test]
fn large_frames_are_counted() {
    if !skip::have_namespaces("large_frames_are_counted") {
        return;
    }
    let scene = Scene::with_mtu(9000);
    let mut kernel = scene.start();
    assert_eq!(status(&kernel).rx, Hook::XdpDriver);
    let (relay, peer) = (scene.relay_socket(Family::V6), scene.peer_socket(Family::V6));
    kernel.open(1, peer.local_addr().unwrap(), Instant::now());
    send(&peer, &relay, &[8952, 8000, 4000, 3400]);
    send(&relay, &peer, &[8952]);
    let expected = Totals {
        rx_packets: 4,
        rx_bytes: 8952 + 8000 + 4000 + 3400 + 4 * header_len(Family::V6),
        tx_packets: 1,
        tx_bytes: 8952 + header_len(Family::V6),
    };
    assert_eq!(kernel.reader().session(1), Some(expected));
}

/// One socket takes IPv4 and IPv6; it tells IPv4 peers as mapped addresses.
#[test]
fn peers_of_a_socket_for_both_families_are_known() {
    if !skip::have_namespaces("peers_of_a_socket_for_both_families_are_known") {
        return;
    }
    let scene = Scene::new();
    let mut kernel = scene.start();
    let relay = socket(scene.relay(), (Ipv6Addr::UNSPECIFIED, PORT).into());
    let peer = scene.peer_socket(Family::V4);
    let IpAddr::V4(v4) = peer.local_addr().unwrap().ip() else { panic!("not IPv4") };
    let mapped = (v4.to_ipv6_mapped(), peer.local_addr().unwrap().port()).into();
    kernel.open(1, mapped, Instant::now());
    peer.send_to(&[7; 10], (scene.relay().address(Family::V4), PORT)).unwrap();
    let (length, from) = relay.recv_from(&mut [0; 100]).unwrap();
    assert_eq!((length, from), (10, mapped));
    relay.send_to(&[7; 20], from).unwrap();
    receive(&peer, 20);
    let header = header_len(Family::V4);
    let expected =
        Totals { rx_packets: 1, rx_bytes: 10 + header, tx_packets: 1, tx_bytes: 20 + header };
    assert_eq!(kernel.reader().session(1), Some(expected));
}

#[test]
fn ipv4_options_are_looked_behind() {
    if !skip::have_namespaces("ipv4_options_are_looked_behind") {
        return;
    }
    let scene = Scene::new();
    let mut kernel = scene.start();
    let (relay, peer) = (scene.relay_socket(Family::V4), scene.peer_socket(Family::V4));
    kernel.open(1, peer.local_addr().unwrap(), Instant::now());
    for socket in [&relay, &peer] {
        // No Operation (RFC 791 section 3.1), eight times.
        set_option(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &[1; 8]);
    }
    send(&peer, &relay, &[100]);
    send(&relay, &peer, &[100]);
    let bytes = 100 + header_len(Family::V4) + 8;
    let expected = Totals { rx_packets: 1, rx_bytes: bytes, tx_packets: 1, tx_bytes: bytes };
    assert_eq!(kernel.reader().session(1), Some(expected));
}

/// All that crosses the interface is in a slot or has a reason.
#[test]
fn foreign_traffic_passes_unchanged_and_nothing_is_missed() {
    if !skip::have_namespaces("foreign_traffic_passes_unchanged_and_nothing_is_missed") {
        return;
    }
    let scene = Scene::new();
    let (relay, peer) = (scene.relay_socket(Family::V4), scene.peer_socket(Family::V4));
    let kernel = scene.start();
    // Addresses are resolved: the interface is quiet now and then.
    send(&peer, &relay, &[1]);
    send(&relay, &peer, &[1]);
    let before = snapshot(&scene, &kernel);
    let other = socket(scene.relay(), (scene.relay().v4, PORT + 1).into());
    send(&peer, &other, &[100, 200]);
    send(&other, &peer, &[300]);
    send(&peer, &relay, &[400]);
    // Larger than a frame: fragments, of which none is attributed.
    send(&peer, &relay, &[4000]);
    tcp(&scene, 100_000);
    let after = snapshot(&scene, &kernel);
    let new = |direction, why| reason(&after.1, direction, why) - reason(&before.1, direction, why);
    assert_eq!(new(Direction::Rx, Reason::OtherPort), 2);
    assert_eq!(new(Direction::Tx, Reason::OtherPort), 1);
    assert_eq!(new(Direction::Rx, Reason::Fragment), 3);
    assert!(new(Direction::Rx, Reason::NotUdp) > 3);
    assert_eq!(after.1.unattributed.since(before.1.unattributed).rx_packets, 1);
    for (direction, packets) in
        [(Direction::Rx, after.0.0 - before.0.0), (Direction::Tx, after.0.1 - before.0.1)]
    {
        let counted = |statistics| counted_packets(statistics, direction);
        assert_eq!(counted(&after.1) - counted(&before.1), packets, "{direction:?}");
    }
}

/// The interface's own counters and the kernel programs' at a moment when
/// nothing moved.
fn snapshot(scene: &Scene, kernel: &Kernel) -> ((u64, u64), Statistics) {
    let deadline = Instant::now() + PATIENCE;
    let mut last = interface_packets(scene.relay());
    loop {
        let statistics = kernel.reader().statistics();
        // Long enough for what is on its way to arrive.
        std::thread::sleep(Duration::from_millis(50));
        let now = interface_packets(scene.relay());
        let counted = [Direction::Rx, Direction::Tx]
            .map(|direction| counted_packets(&kernel.reader().statistics(), direction));
        let before =
            [Direction::Rx, Direction::Tx].map(|direction| counted_packets(&statistics, direction));
        if now == last && counted == before {
            return (now, statistics);
        }
        assert!(Instant::now() < deadline, "the interface is never quiet");
        last = now;
    }
}

fn counted_packets(statistics: &Statistics, direction: Direction) -> u64 {
    let in_slots = match direction {
        Direction::Rx => statistics.counted.rx_packets,
        Direction::Tx => statistics.counted.tx_packets,
    };
    let reasons = statistics.reasons.iter().filter(|(way, ..)| *way == direction);
    in_slots + reasons.map(|(.., count)| count).sum::<u64>()
}

/// What the interface itself has counted, in and out.
fn interface_packets(host: &Host) -> (u64, u64) {
    let mut command = host.namespace.command("cat");
    command.arg(format!("/sys/class/net/{INTERFACE}/statistics/rx_packets"));
    command.arg(format!("/sys/class/net/{INTERFACE}/statistics/tx_packets"));
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let mut numbers = output.lines().map(|line| line.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Bytes from the peer to the relay's machine over TCP.
fn tcp(scene: &Scene, bytes: usize) {
    use std::io::{Read, Write};
    let address = (scene.relay().address(Family::V4), 0);
    let listener = scene.relay().namespace.run(|| std::net::TcpListener::bind(address)).unwrap();
    let to = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            assert_eq!(received, vec![7; bytes]);
        });
        scene.peer().namespace.run(|| {
            let mut stream = std::net::TcpStream::connect(to).unwrap();
            stream.write_all(&vec![7; bytes]).unwrap();
        });
    });
}

#[test]
fn a_peer_that_moves_stays_one_session() {
    if !skip::have_namespaces("a_peer_that_moves_stays_one_session") {
        return;
    }
    let scene = Scene::new();
    let mut kernel = scene.start();
    let relay = scene.relay_socket(Family::V4);
    let (first, second) = (scene.peer_socket(Family::V4), scene.peer_socket(Family::V6));
    let relay_v6 = scene.relay_socket(Family::V6);
    let start = Instant::now();
    kernel.open(1, first.local_addr().unwrap(), start);
    send(&first, &relay, &[100]);
    kernel.moved(1, second.local_addr().unwrap(), start);
    send(&second, &relay_v6, &[100]);
    // A straggler.
    send(&first, &relay, &[100]);
    assert_eq!(kernel.reader().session(1).unwrap().rx_packets, 3);
    let later = start + Duration::from_secs(6);
    let check = |kernel: &mut Kernel, now| scene.relay().namespace.run(|| kernel.check(now));
    assert_eq!(check(&mut kernel, later), []);
    send(&first, &relay, &[100]);
    send(&second, &relay_v6, &[100]);
    assert_eq!(kernel.reader().session(1).unwrap().rx_packets, 4);
    kernel.close(1, later);
    let closed = check(&mut kernel, later + Duration::from_secs(1));
    assert_eq!((closed.len(), closed[0].session, closed[0].totals.rx_packets), (1, 1, 4));
    let statistics = kernel.reader().statistics();
    assert_eq!((statistics.slots.used, statistics.unattributed.rx_packets), (0, 1));
    assert_eq!(statistics.attributed.plus(statistics.unattributed), statistics.counted);
}

#[test]
fn blocked_peers_are_not_heard_until_they_are_unblocked() {
    if !skip::have_namespaces("blocked_peers_are_not_heard_until_they_are_unblocked") {
        return;
    }
    for occupied in [false, true] {
        let scene = Scene::new();
        let _occupied = occupied.then(|| scene.occupy_xdp());
        let mut kernel = scene.start();
        for family in [Family::V4, Family::V6] {
            let (relay, peer) = (scene.relay_socket(family), scene.peer_socket(family));
            let other = socket(scene.relay(), (scene.relay().address(family), PORT + 1).into());
            let ip = peer.local_addr().unwrap().ip();
            send(&peer, &relay, &[1]);
            kernel.block(ip).unwrap();
            peer.send_to(&[7; 2], relay.local_addr().unwrap()).unwrap();
            // What comes after it on the same way has arrived.
            send(&peer, &other, &[3]);
            relay.set_nonblocking(true).unwrap();
            assert_eq!(relay.recv(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            relay.set_nonblocking(false).unwrap();
            let statistics = kernel.reader().statistics();
            assert_eq!(statistics.blocked_addresses, 1);
            kernel.unblock(ip).unwrap();
            send(&peer, &relay, &[4]);
        }
        let statistics = kernel.reader().statistics();
        assert_eq!(reason(&statistics, Direction::Rx, Reason::Blocked), 2);
        assert_eq!(statistics.blocked_addresses, 0);
    }
}
