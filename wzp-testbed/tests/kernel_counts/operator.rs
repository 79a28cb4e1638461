//! The operator's commands for flows.

use std::time::{Duration, Instant};

use wzp_testbed::client::{Client, Launch as ClientLaunch};
use wzp_testbed::netns::{Family, Host, Network};
use wzp_testbed::relay::temporary_state;
use wzp_testbed::{binaries, skip};

use crate::{control, start_relay, value};

const LIMIT: Duration = Duration::from_secs(60);

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
        let labels = [("session_id", flow["session_id"].as_str().unwrap()), ("direction", "tx")];
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

    control(folder.path(), &["block", &loud_ip, "--kick"]);
    let error = loud.fail(LIMIT).unwrap();
    assert!(error.contains("its address is blocked"), "{error}");
    quiet.leave(LIMIT).unwrap();
    relay.stop().unwrap();
}
