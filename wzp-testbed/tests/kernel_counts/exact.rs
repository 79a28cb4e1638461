//! 20 members of 5 rooms talk, some in single packets and some in bursts that
//! the kernel handles as one buffer, some with IPv4 options; some move. What
//! the relay's kernel counted for each flow is compared with what nftables
//! counted on the other side and with what QUIC gave to its sockets.

use std::net::{Ipv6Addr, SocketAddr};

use wzp_testbed::netns::{Family, Network};
use wzp_testbed::relay::temporary_state;
use wzp_testbed::skip;

use crate::look::{Both, Look, look};
use crate::member::{FRAMES_PER_SECOND, Manner, Member};
use crate::table::Table;
use crate::truth::Truth;
use crate::{start_relay, value};

const ROOMS: usize = 5;
const SEATS: usize = 4;
/// Those whose members all move.
const ROOMS_THAT_MOVE: usize = 2;

/// How the relay's kernel is to count packets on their way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    /// In the driver: the kernel cuts buffers into datagrams before.
    Xdp,
    /// Datagrams that the sender gave to the kernel as one buffer come so.
    Tcx,
    /// Behind another's program in the driver.
    TcxBehindXdp,
}

struct Case {
    test: &'static str,
    family: Family,
    /// Whether the relay's socket is for both families and sees IPv4 peers
    /// under IPv4-mapped addresses.
    mapped: bool,
    way_in: In,
    /// Length of the call.
    seconds: u32,
}

/// One whose length is that of a call; the others differ in the way of each
/// packet, not in how many there are.
const LONG: u32 = 20;
const SHORT: u32 = 4;

#[test]
fn each_flow_is_exact_over_ipv4() {
    let test = "each_flow_is_exact_over_ipv4";
    check(&Case { test, family: Family::V4, mapped: false, way_in: In::Xdp, seconds: LONG });
}

#[test]
fn each_flow_is_exact_over_ipv6() {
    let test = "each_flow_is_exact_over_ipv6";
    check(&Case { test, family: Family::V6, mapped: false, way_in: In::Xdp, seconds: SHORT });
}

#[test]
fn each_flow_is_exact_of_mapped_addresses() {
    let test = "each_flow_is_exact_of_mapped_addresses";
    check(&Case { test, family: Family::V4, mapped: true, way_in: In::Xdp, seconds: SHORT });
}

#[test]
fn each_flow_is_exact_in_tcx_over_ipv4() {
    let test = "each_flow_is_exact_in_tcx_over_ipv4";
    let way_in = In::Tcx;
    check(&Case { test, family: Family::V4, mapped: false, way_in, seconds: SHORT });
}

#[test]
fn each_flow_is_exact_in_tcx_over_ipv6() {
    let test = "each_flow_is_exact_in_tcx_over_ipv6";
    let way_in = In::Tcx;
    check(&Case { test, family: Family::V6, mapped: false, way_in, seconds: SHORT });
}

#[test]
fn each_flow_is_exact_in_tcx_of_mapped_addresses() {
    let test = "each_flow_is_exact_in_tcx_of_mapped_addresses";
    let way_in = In::Tcx;
    check(&Case { test, family: Family::V4, mapped: true, way_in, seconds: SHORT });
}

#[test]
fn each_flow_is_exact_behind_another_xdp_program() {
    let test = "each_flow_is_exact_behind_another_xdp_program";
    let way_in = In::TcxBehindXdp;
    check(&Case { test, family: Family::V4, mapped: false, way_in, seconds: SHORT });
}

/// The members of a room by their seats.
fn manner(room: usize, seat: usize, family: Family) -> Manner {
    let moves = room < ROOMS_THAT_MOVE;
    let [bursts, gso, options] = match seat {
        0 => [false, false, false],
        1 => [true, true, false],
        2 => [true, false, false],
        _ => [true, room.is_multiple_of(2), family == Family::V4],
    };
    Manner { bursts, gso, options, moves }
}

fn check(case: &Case) {
    if !skip::have_namespaces(case.test) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(call(case));
}

async fn call(case: &Case) {
    let family = case.family;
    let network = Network::new(&["relay", "clients"]).unwrap();
    let [relay_host, clients_host] = network.hosts() else { panic!("two hosts") };
    let truth = Truth::start(clients_host);
    let delivered = Truth::start(relay_host);
    let folder = temporary_state().unwrap();
    // Another relay that was there first has the driver's hook.
    let first_folder = temporary_state().unwrap();
    let own = SocketAddr::from((relay_host.address(family), 0));
    let first = (case.way_in != In::Xdp).then(|| start_relay(relay_host, own, first_folder.path()));
    let listen = if case.mapped { (Ipv6Addr::UNSPECIFIED, 0).into() } else { own };
    let relay = start_relay(relay_host, listen, folder.path());
    let _first = first.filter(|_| case.way_in == In::TcxBehindXdp);

    let address = (relay_host.address(family), relay.listen().port()).into();
    let mut members = Vec::new();
    for number in 0..ROOMS * SEATS {
        let (room, seat) = (number % ROOMS, number / ROOMS);
        let manner = manner(room, seat, family);
        let (pin, room) = (relay.fingerprint(), format!("room {room}"));
        members.push(Member::join(clients_host, manner, address, pin, room).await);
    }
    let before = look(&truth, &relay, folder.path(), &members).await;
    let frames = case.seconds * FRAMES_PER_SECOND;
    let talks: Vec<_> = members
        .into_iter()
        .map(|mut member| {
            tokio::spawn(async move {
                member.talk(frames).await;
                member
            })
        })
        .collect();
    let mut members = Vec::new();
    for talk in talks {
        members.push(talk.await.unwrap());
    }
    let after = look(&truth, &relay, folder.path(), &members).await;

    compare(case, &members, &before, &after);
    if case.way_in == In::Tcx {
        // Else this would not test what it should.
        let sockets: u64 = delivered.read().values().map(|seen| seen.received.packets).sum();
        let packets = after.counted.rx.packets;
        assert!(sockets < packets, "{sockets} buffers of {packets} packets: none joined");
    }
    let hook = if case.way_in == In::Xdp { "xdp-driver" } else { "tcx-ingress" };
    let scrape = relay.scrape().unwrap();
    assert_eq!(value(&scrape, "wzp_ebpf_hook", &[("direction", "rx"), ("hook", hook)]), 1);
    assert_eq!(value(&scrape, "wzp_relay_forwarded_source", &[("source", "kernel")]), 1);
    for member in members {
        member.leave().await;
    }
    relay.stop().unwrap();
}

fn compare(case: &Case, members: &[Member], before: &Look, after: &Look) {
    let mut table = Table::default();
    let mut failures = Vec::new();
    let [mut kernel_total, mut wire_total, mut unknown] = [Both::default(); 3];
    for (number, member) in members.iter().enumerate() {
        let name = format!("{number}: {}", member.manner.name());
        let wire_before = before.wire(number, member, case.family);
        let wire = after.wire(number, member, case.family).since(wire_before);
        let mut sessions = before.kernel.values();
        let flow = sessions.find(|flow| flow.peer.port() == member.ports[0]).unwrap();
        let now = &after.kernel[&flow.session_id];
        assert_eq!(now.peer.port(), member.ports[usize::from(member.manner.moves)], "{name}");
        let kernel = now.both().since(flow.both());
        table.row(&name, kernel, wire);
        kernel_total = Both::of(&[kernel_total, kernel]);
        wire_total = Both::of(&[wire_total, wire]);
        if member.manner.moves {
            let missing = wire.since(kernel);
            unknown = Both::of(&[unknown, missing]);
            // From its first packet at the new address until the relay has
            // seen it and told the kernel.
            let few = 1..u64::from(FRAMES_PER_SECOND);
            if !few.contains(&missing.rx.packets) {
                failures.push(format!("{name}: {} packets missing", missing.rx.packets));
            }
        } else if kernel != wire {
            failures.push(name);
        }
    }
    let unattributed = after.unattributed.since(before.unattributed);
    table.row("all", kernel_total, wire_total);
    table.row("unattributed; wire less flows", unattributed, unknown);
    println!("{}:\n{}", case.test, table.0);
    assert!(failures.is_empty(), "not exact: {failures:#?}");
    assert_eq!(unattributed, unknown);

    // And from the first handshake on, known flow or not.
    for look in [before, after] {
        let wire = members
            .iter()
            .enumerate()
            .map(|(number, member)| look.wire(number, member, case.family));
        assert_eq!(look.counted, Both::of(&wire.collect::<Vec<_>>()));
        // No packet was lost between the hook and the sockets.
        assert_eq!(look.lost, [Some(0.0); 2]);
    }
    // Else bursts were none.
    let joined = |look: &Look, member: &Member, number: usize| {
        let seen = member.ports.iter().filter_map(|port| look.nftables.get(port));
        look.quic[number].sent.packets - seen.map(|seen| seen.sent.packets).sum::<u64>()
    };
    for (number, member) in members.iter().enumerate() {
        if member.manner.bursts && member.manner.gso {
            assert!(joined(after, member, number) > 0, "member {number} joined nothing");
        }
    }
}
