//! What arrives goes to the shard that its connection id names, through the relay's own
//! sockets and the real kernel.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

use std::net::UdpSocket;
use std::time::Duration;

use quinn_udp::{Transmit, UdpSocketState};
use wzp_kernel::steering::{Steering, start};
use wzp_relay::net::socket::{bind, open_lanes};
use wzp_testbed::skip;

/// What arrives and where it belongs, for so many shards.
fn cases(shards: usize) -> Vec<(String, Vec<u8>, usize)> {
    let mut cases = Vec::new();
    for id in 0..12 {
        let shard = usize::from(id) % shards;
        let short = [&[0x40, id][..], &[0; 20]].concat();
        let long = [&[0xc0, 0, 0, 0, 1, 8, id][..], &[0; 20]].concat();
        cases.push((format!("short header, id {id}"), short, shard));
        cases.push((format!("long header, id {id}"), long, shard));
    }
    cases.push(("short header that ends with the id".into(), vec![0x40, 5], 5 % shards));
    cases.push(("long header that ends with it".into(), vec![0xc0, 0, 0, 0, 1, 8, 4], 4 % shards));
    for (case, packet) in [
        ("nothing", &[][..]),
        ("short header without an id", &[0x40]),
        ("long header without an id", &[0xc0, 0, 0, 0, 1, 0]),
    ] {
        cases.push((case.into(), packet.into(), 0));
    }
    cases
}

/// Every packet comes from another port, as after a change of address. None
/// goes to the sockets that are only sent by, whether all of them are open or
/// some have been closed.
fn packets_go_where_their_ids_say(shards: usize, wanted: Steering) {
    for (address, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::1]:0", "::1")]
    {
        let sockets = bind(address.parse().unwrap(), shards, 1 << 20).unwrap();
        assert_eq!(start(&sockets, wanted == Steering::Ebpf), wanted);
        let mut lanes = open_lanes(&sockets, wanted);
        lanes[0].drain(..3);
        let port = sockets[0].local_addr().unwrap().port();
        for socket in &sockets {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        for (case, sent, shard) in cases(shards) {
            let from = UdpSocket::bind((to, 0)).unwrap();
            from.send_to(&sent, (to, port)).unwrap();
            let mut received = [0; 100];
            let (length, asker) = sockets[shard]
                .recv_from(&mut received)
                .unwrap_or_else(|error| panic!("{case}, {address}: {error}"));
            assert_eq!(received[..length], sent, "{case}, {address}");
            // Answers come from the port that was asked, by whichever socket.
            from.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            for lane in lanes[shard].iter().chain([&sockets[shard]]) {
                lane.send_to(&sent, asker).unwrap();
                let (_, answered_by) = from.recv_from(&mut received).unwrap();
                assert_eq!(answered_by.port(), port, "{case}, {address}");
            }
        }
    }
}

#[test]
fn the_filter_steers_by_connection_id_and_not_by_address() {
    packets_go_where_their_ids_say(3, Steering::Classic);
}

#[test]
fn one_shard_gets_all_that_arrives() {
    packets_go_where_their_ids_say(1, Steering::Classic);
    // There is nothing to choose that would need a program.
    let sockets = bind("127.0.0.1:0".parse().unwrap(), 1, 1 << 20).unwrap();
    assert_eq!(start(&sockets, true), Steering::Classic);
}

#[test]
fn sockets_to_send_by_take_nothing_in() {
    let sockets = bind("127.0.0.1:0".parse().unwrap(), 1, 1 << 20).unwrap();
    let lanes = open_lanes(&sockets, Steering::Classic);
    let to = sockets[0].local_addr().unwrap();
    // Nothing steers, and the kernel chooses any of the group.
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    drop(sockets);
    for _ in 0..100 {
        from.send_to(&[0x40, 0], to).unwrap();
    }
    for lane in &lanes[0] {
        let error = lane.recv_from(&mut [0; 100]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn without_steering_there_are_no_others() {
    let sockets = bind("127.0.0.1:0".parse().unwrap(), 2, 1 << 20).unwrap();
    let lanes = open_lanes(&sockets, Steering::None);
    assert!(lanes.len() == 2 && lanes.iter().all(Vec::is_empty));
}

#[test]
fn the_program_steers_by_connection_id_and_not_by_address() {
    if skip::have_namespaces("the_program_steers_by_connection_id_and_not_by_address") {
        packets_go_where_their_ids_say(3, Steering::Ebpf);
    }
}

/// The kernel looks for the socket once for packets that it has merged: on
/// loopback, for those that were sent merged.
fn merged_packets_go_where_the_first_belongs(wanted: Steering) {
    let sockets = bind("127.0.0.1:0".parse().unwrap(), 3, 1 << 20).unwrap();
    assert_eq!(start(&sockets, wanted == Steering::Ebpf), wanted);
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    let packets: Vec<_> = (0..6).map(|id| [&[0x40, id][..], &[0; 20]].concat()).collect();
    let batch = Transmit {
        destination: sockets[0].local_addr().unwrap(),
        ecn: None,
        contents: &packets.concat(),
        segment_size: Some(packets[0].len()),
        src_ip: None,
    };
    UdpSocketState::new((&from).into()).unwrap().try_send((&from).into(), &batch).unwrap();
    sockets[0].set_nonblocking(false).unwrap();
    sockets[0].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for sent in packets {
        let mut received = [0; 100];
        let (length, _) = sockets[0].recv_from(&mut received).unwrap();
        assert_eq!(received[..length], sent);
    }
}

#[test]
fn merged_packets_go_where_the_first_belongs_under_the_filter() {
    merged_packets_go_where_the_first_belongs(Steering::Classic);
}

#[test]
fn merged_packets_go_where_the_first_belongs_under_the_program() {
    if skip::have_namespaces("merged_packets_go_where_the_first_belongs_under_the_program") {
        merged_packets_go_where_the_first_belongs(Steering::Ebpf);
    }
}

/// With the filter, the last socket takes the place of the closed one, and
/// its own packets go to whichever their addresses say.
#[test]
fn with_the_program_a_closed_socket_changes_nothing_for_the_others() {
    let test = "with_the_program_a_closed_socket_changes_nothing_for_the_others";
    if !skip::have_namespaces(test) {
        return;
    }
    let mut sockets = bind("127.0.0.1:0".parse().unwrap(), 3, 1 << 20).unwrap();
    assert_eq!(start(&sockets, true), Steering::Ebpf);
    let to = sockets[0].local_addr().unwrap();
    drop(sockets.remove(0));
    for socket in &sockets {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    for (case, sent, shard) in cases(3).iter().filter(|(.., shard)| *shard > 0) {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        from.send_to(sent, to).unwrap();
        let mut received = [0; 100];
        let (length, _) = sockets[shard - 1]
            .recv_from(&mut received)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(received[..length], *sent, "{case}");
    }
}
