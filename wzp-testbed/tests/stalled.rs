//! A path that stalls, and a call on another one: 300 listeners whose packets the
//! relay's kernel cannot get rid of cost two others not a frame.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use wzp_testbed::binaries;
use wzp_testbed::impair::bottleneck;
use wzp_testbed::netns::{Namespace, Network, cable};
use wzp_testbed::process::Process;
use wzp_testbed::realtime;
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::skip;

const LIMIT: Duration = Duration::from_secs(60);

/// Who listen where the path stalls: they are sent 15,000 packets a second.
const LISTENERS: u32 = 300;

/// A relay at all addresses of a namespace.
struct Scene<'a> {
    relay: Relay<'a>,
    _folder: TempDir,
}

impl<'a> Scene<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        let folder = temporary_state().unwrap();
        let listen = (Ipv4Addr::UNSPECIFIED, 0).into();
        let mut launch = Launch::on(namespace, listen, folder.path());
        // All of them share what one shard has.
        launch.arguments = ["--shards", "1"].map(Into::into).into();
        let mut command = launch.command();
        command.env("WZP_LIMITS__SESSIONS_PER_ADDRESS", "1000");
        let relay = in_real_time(|| Relay::from_command(command, Some(namespace)).unwrap());
        Self { relay, _folder: folder }
    }

    /// Clients in a namespace, once all have joined.
    fn join(&self, namespace: &Namespace, address: Ipv4Addr, arguments: &[&str]) -> Process {
        let relay = SocketAddr::from((address, self.relay.listen().port()));
        let mut command = namespace.command(binaries::client());
        command.args(["load", "--json", "--pin", self.relay.fingerprint(), &relay.to_string()]);
        let load = Process::start("wzp-client load", {
            command.args(arguments);
            command
        })
        .unwrap();
        let joined = next_line(&load);
        assert_eq!((&joined["event"], &joined["failed"]), (&"joined".into(), &0.into()));
        load
    }

    /// Has somebody talk to them.
    fn talk(&self, namespace: &Namespace, address: Ipv4Addr) -> Process {
        let talker = ["--room-prefix", "hall", "--members", "1", "--duration", "60"];
        in_real_time(|| self.join(namespace, address, &talker))
    }

    /// Has [`LISTENERS`] listen.
    fn listen(&self, namespace: &Namespace, address: Ipv4Addr, more: &[&str]) -> Process {
        let members = LISTENERS.to_string();
        let hall = ["--room-prefix", "hall", "--members", &members, "--talkers", "0"];
        let patience = ["--duration", "60", "--concurrent-joins", "16"];
        self.join(namespace, address, &[&hall[..], &patience, more].concat())
    }

    /// Has two people call each other for eight seconds; what became of it.
    fn call(&self, namespace: &Namespace, address: Ipv4Addr) -> Value {
        let pair = ["--room-prefix", "call", "--members", "2"];
        let times = ["--warm-up", "0.5", "--duration", "8"];
        let call = in_real_time(|| self.join(namespace, address, &[pair, times].concat()));
        loop {
            let line = next_line(&call);
            if line["event"] == "result" {
                return line;
            }
        }
    }
}

/// Starts a process that other work on this machine must not delay.
fn in_real_time<T>(start: impl FnOnce() -> T) -> T {
    assert!(realtime::set(true), "root may, with chrt");
    let started = start();
    realtime::set(false);
    started
}

fn next_line(load: &Process) -> Value {
    let line = load.next_line(Instant::now() + LIMIT).unwrap();
    serde_json::from_str(&line.unwrap_or_else(|| panic!("it ended: {}", load.stderr()))).unwrap()
}

/// The call lost nothing, though others' packets had to wait and were dropped.
fn assert_undisturbed(call: &Value, relay: &Relay<'_>) {
    let scrape = relay.scrape().unwrap();
    let count = |name: &str| scrape.sum(name, &[]).unwrap_or_default();
    let (received, expected) = (&call["frames_received"], &call["frames_expected"]);
    let latency = &call["latency_us"];
    println!(
        "{received} of {expected} frames of the call, after {} us, 99 % within {} us; others': {} \
         packets held, {} dropped; lanes were full for {} s",
        latency["p50"],
        latency["p99"],
        count("wzp_relay_udp_packets_held_total"),
        count("wzp_relay_udp_packets_unsent_total"),
        count("wzp_relay_send_lane_full_seconds_total"),
    );
    assert_eq!(received, expected, "{call}");
    assert!(count("wzp_relay_udp_packets_unsent_total") > 0.0, "nothing stalled: {scrape:?}");
}

#[test]
fn an_interface_that_stalls_costs_a_call_on_another_nothing() {
    if !skip::have_bottlenecks("an_interface_that_stalls_costs_a_call_on_another_nothing") {
        return;
    }
    let [relay, hall_host, call_host] =
        ["relay", "hall", "call"].map(|label| Namespace::new(label).unwrap());
    let [to_hall, _] = cable([&relay, &hall_host], "slow", 1).unwrap();
    let [to_call, _] = cable([&relay, &call_host], "good", 2).unwrap();
    let scene = Scene::new(&relay);
    let _listeners = scene.listen(&hall_host, to_hall, &[]);
    let _talker = scene.talk(&call_host, to_call);
    // A quarter of what is sent there, and room for ten seconds of the rest.
    bottleneck::outgoing(&relay, "slow", 6_000_000, 64 * 1024 * 1024).unwrap();
    let call = scene.call(&call_host, to_call);
    assert_undisturbed(&call, &scene.relay);
}

#[test]
fn neighbours_that_vanish_cost_a_call_behind_the_same_interface_nothing() {
    /// Addresses, of five sessions each. The kernel holds up to 208 KiB for each
    /// while it asks for them.
    const HOSTS: u8 = 60;
    let test = "neighbours_that_vanish_cost_a_call_behind_the_same_interface_nothing";
    if !skip::have_namespaces(test) {
        return;
    }
    let network = Network::new(&["relay", "hall", "call"]).unwrap();
    let [relay, hall_host, call_host] = network.hosts() else { panic!("three hosts") };
    let scene = Scene::new(&relay.namespace);
    let sources: Vec<_> = (100..100 + HOSTS).map(|host| format!("10.77.0.{host}")).collect();
    for source in &sources {
        let address = format!("{source}/24");
        hall_host.namespace.ip(&["address", "add", &address, "dev", "eth0"]).unwrap();
    }
    let sources = ["--sources", &sources.join(",")];
    let _listeners = scene.listen(&hall_host.namespace, relay.v4, &sources);
    let _talker = scene.talk(&call_host.namespace, relay.v4);
    // Nobody answers for them any more, and the relay's host has to ask.
    hall_host.namespace.ip(&["address", "flush", "dev", "eth0"]).unwrap();
    relay.namespace.ip(&["neighbour", "flush", "to", "10.77.0.0/24", "dev", "eth0"]).unwrap();
    let call = scene.call(&call_host.namespace, relay.v4);
    assert_undisturbed(&call, &scene.relay);
}
