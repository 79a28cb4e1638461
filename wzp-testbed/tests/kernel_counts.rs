//! The relay with the kernel counting: real clients over veth, compared with
//! what nftables counts on the clients' side.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wzp_testbed::client::{Client, Launch as ClientLaunch};
use wzp_testbed::metrics::Scrape;
use wzp_testbed::netns::{Family, Host, Network};
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::{binaries, skip};

const LIMIT: Duration = Duration::from_secs(60);

/// Packets and bytes of IP.
type Count = (u64, u64);

/// Has nftables count UDP in both directions, before anything is lost there.
fn count_udp(host: &Host) {
    let rules = "table inet truth {\n\
        counter in {}\ncounter out {}\n\
        chain i { type filter hook input priority 0; meta l4proto udp counter name in; }\n\
        chain o { type filter hook output priority 0; meta l4proto udp counter name out; }\n}";
    nft(host, &["-f", "-"], Some(rules));
}

/// What it has counted: from the host's point of view in, out.
fn counted(host: &Host) -> (Count, Count) {
    let read = |name: &str| {
        let text = nft(host, &["list", "counter", "inet", "truth", name], None);
        let mut words = text.split_whitespace();
        let mut after = |word: &str| -> u64 {
            words.find(|w| *w == word).unwrap();
            words.next().unwrap().parse().unwrap()
        };
        (after("packets"), after("bytes"))
    };
    (read("in"), read("out"))
}

fn nft(host: &Host, arguments: &[&str], input: Option<&str>) -> String {
    use std::io::Write;
    let mut command: Command = host.namespace.command("nft");
    command.args(arguments).stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> u64 {
    scrape.sum(name, labels).unwrap_or(0.0) as u64
}

/// A relay whose kernel counts on the host's veth.
fn start_relay<'a>(host: &'a Host, listen: SocketAddr, folder: &Path) -> Relay<'a> {
    let interface = host.namespace.run(|| {
        let names = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let mut names = names.lines().filter_map(|line| line.split_once(':'));
        let (name, _) = names.find(|(name, _)| name.trim() != "lo").unwrap();
        name.trim().to_owned()
    });
    let arguments = ["--ebpf", "require", "--interface", &interface, "--shards", "2"];
    Relay::start(&Launch {
        program: binaries::relay(),
        namespace: Some(&host.namespace),
        listen,
        state_dir: folder.join("state"),
        arguments: arguments.iter().map(Into::into).collect(),
    })
    .unwrap()
}

/// Runs a command of a running relay and gives what it printed.
fn control(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(binaries::relay());
    let output = command.args(arguments).arg("--state-dir").arg(folder.join("state")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Kernel and truth, once they stand still.
fn settled(relay: &Relay<'_>, host: &Host) -> (Scrape, (Count, Count)) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let before = counted(host);
        let scrape = relay.scrape().unwrap();
        let idle = value(&scrape, "wzp_ebpf_slots_used", &[]) == 0;
        std::thread::sleep(Duration::from_millis(300));
        if idle && counted(host) == before {
            return (scrape, before);
        }
        assert!(Instant::now() < deadline, "packets never stop: {before:?}");
    }
}

/// Five rooms of four: every packet and every byte, both ways, is counted.
fn five_rooms_of_four(test: &str, family: Family, listen: &str, hook: &str) {
    if !skip::have_namespaces(test) {
        return;
    }
    const ETHERNET: u64 = 14;
    let network = Network::new(&["relay", "clients"]).unwrap();
    let [relay_host, clients_host] = network.hosts() else { panic!("two hosts") };
    count_udp(clients_host);
    let folder = temporary_state().unwrap();
    let listen = match listen {
        "own" => (relay_host.address(family), 0).into(),
        text => text.parse().unwrap(),
    };
    // Another relay that was there first has the driver's hook.
    let first = temporary_state().unwrap();
    let _first = (hook == "tcx-ingress")
        .then(|| start_relay(relay_host, (relay_host.address(family), 0).into(), first.path()));
    let relay = start_relay(relay_host, listen, folder.path());
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let launch = ClientLaunch {
                program: binaries::client(),
                namespace: Some(&clients_host.namespace),
                relay: (relay_host.address(family), relay.listen().port()).into(),
                pin: relay.fingerprint().to_owned(),
                room: format!("room {}", number % 5),
                name: format!("client {number}"),
            };
            Client::start(&launch, &["--send-tone", "5", "--wait-for", "3", "--linger", "1"])
                .unwrap()
        })
        .collect();
    let mut heard = 0;
    for client in clients {
        heard += client.finish(LIMIT).unwrap().frames_received;
    }
    let (scrape, (received, sent)) = settled(&relay, clients_host);

    let kernel = |name, direction| value(&scrape, name, &[("direction", direction)]);
    let packets = |direction| kernel("wzp_ebpf_packets_total", direction);
    let bytes = |direction| kernel("wzp_ebpf_bytes_total", direction);
    let rooms = value(&scrape, "wzp_relay_packets_forwarded_total", &[]);
    println!("| direction | kernel packets | nftables | kernel bytes | nftables and Ethernet |");
    println!("|---|---|---|---|---|");
    for (direction, (truth_packets, truth_bytes)) in [("rx", sent), ("tx", received)] {
        let truth_bytes = truth_bytes + ETHERNET * truth_packets;
        println!(
            "| {direction} | {} | {truth_packets} | {} | {truth_bytes} |",
            packets(direction),
            bytes(direction)
        );
        assert_eq!(
            (packets(direction), bytes(direction)),
            (truth_packets, truth_bytes),
            "{direction}"
        );
    }
    let attributed =
        value(&scrape, "wzp_ebpf_packets_total", &[("direction", "tx"), ("attributed", "yes")]);
    println!("{heard} frames heard, {rooms} packets to members of rooms, {attributed} to sessions");
    assert_eq!(heard, 20 * 3 * 250);
    // No packet was lost between the hook and the sockets.
    for direction in ["rx", "tx"] {
        let difference = scrape.sum("wzp_ebpf_difference_packets", &[("direction", direction)]);
        assert_eq!(difference, Some(0.0), "{direction}");
    }
    // Each session was in one room from its first packet to its last.
    assert_eq!(rooms, attributed);
    assert_eq!(value(&scrape, "wzp_relay_forwarded_source", &[("source", "kernel")]), 1);
    assert_eq!(value(&scrape, "wzp_ebpf_counting", &[]), 1);
    assert_eq!(value(&scrape, "wzp_ebpf_hook", &[("direction", "rx"), ("hook", hook)]), 1);
    relay.stop().unwrap();
}

#[test]
fn every_packet_is_counted_over_ipv4() {
    five_rooms_of_four("every_packet_is_counted_over_ipv4", Family::V4, "own", "xdp-driver");
}

/// Where another program has the driver's hook, the relay counts behind it.
#[test]
fn every_packet_is_counted_behind_another_xdp_program() {
    let test = "every_packet_is_counted_behind_another_xdp_program";
    five_rooms_of_four(test, Family::V4, "own", "tcx-ingress");
}

#[test]
fn every_packet_is_counted_over_ipv6() {
    five_rooms_of_four("every_packet_is_counted_over_ipv6", Family::V6, "own", "xdp-driver");
}

/// A socket for both families sees IPv4 peers under IPv4-mapped addresses.
#[test]
fn every_packet_is_counted_of_mapped_addresses() {
    let test = "every_packet_is_counted_of_mapped_addresses";
    five_rooms_of_four(test, Family::V4, "[::]:0", "xdp-driver");
}

/// What an operator does about a peer that is too loud: finds its flow, blocks
/// its address, and takes it back.
#[test]
fn flows_are_listed_and_an_address_is_blocked_and_taken_back() {
    let test = "flows_are_listed_and_an_address_is_blocked_and_taken_back";
    if !skip::have_namespaces(test) {
        return;
    }
    let network = Network::new(&["relay", "quiet", "loud"]).unwrap();
    let [relay_host, quiet_host, loud_host] = network.hosts() else { panic!("three hosts") };
    let folder = temporary_state().unwrap();
    let relay = start_relay(relay_host, (relay_host.address(Family::V4), 0).into(), folder.path());
    let client = |host: &Host, name: &str, arguments: &[&str]| {
        let launch = ClientLaunch {
            program: binaries::client(),
            namespace: Some(&host.namespace),
            relay: relay.listen(),
            pin: relay.fingerprint().to_owned(),
            room: "operators".to_owned(),
            name: name.to_owned(),
        };
        Client::start(&launch, arguments).unwrap()
    };
    let quiet = client(quiet_host, "quiet", &["--duration", "30"]);
    let loud = client(loud_host, "loud", &["--send-tone", "30", "--wait-for", "1"]);

    let loud_ip = loud_host.address(Family::V4).to_string();
    let received =
        || value(&relay.scrape().unwrap(), "wzp_relay_media_packets_received_total", &[]);
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("the call", &|| received() > 50);
    let flows: serde_json::Value =
        serde_json::from_str(&control(folder.path(), &["flows", "--json"])).unwrap();
    let [busiest, other] = &flows.as_array().unwrap()[..] else { panic!("{flows}") };
    let of = |flow: &serde_json::Value, ip: &str| flow["peer"].as_str().unwrap().starts_with(ip);
    assert!(of(busiest, &loud_ip) || of(other, &loud_ip), "{flows}");
    assert!(busiest["room"] == "operators" && other["room"] == "operators", "{flows}");
    for flow in [busiest, other] {
        let labels = [("session_id", flow["session"].as_str().unwrap()), ("direction", "tx")];
        let packets =
            value(&relay.scrape().unwrap(), "wzp_relay_session_wire_packets_total", &labels);
        assert!(packets >= flow["tx_packets"].as_u64().unwrap() && packets > 0, "{flow}");
    }
    let table = control(folder.path(), &["flows", "--once"]);
    assert!(table.starts_with("2 flows, ") && table.contains(&loud_ip), "{table}");

    let blocked = || {
        let labels = [("direction", "rx"), ("reason", "blocked")];
        value(&relay.scrape().unwrap(), "wzp_ebpf_skipped_packets_total", &labels)
    };
    assert_eq!(blocked(), 0);
    control(folder.path(), &["block", &loud_ip]);
    wait("packets to be dropped", &|| blocked() > 50);
    assert_eq!(value(&relay.scrape().unwrap(), "wzp_ebpf_blocked_addresses", &[]), 1);
    let silent = received();
    wait("more of them", &|| blocked() > 100);
    assert_eq!(received(), silent, "a blocked peer was heard");
    control(folder.path(), &["unblock", &loud_ip]);
    wait("the peer to be heard again", &|| received() > silent + 50);

    loud.leave(LIMIT).unwrap();
    quiet.leave(LIMIT).unwrap();
    relay.stop().unwrap();
}
