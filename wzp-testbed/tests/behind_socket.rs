//! What happens to packets behind the relay's sockets: what the relay says of it, and what
//! the kernel does.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use wzp_testbed::binaries;
use wzp_testbed::impair::bottleneck;
use wzp_testbed::netns::{Namespace, cable};
use wzp_testbed::process::Process;
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::skip;

const LIMIT: Duration = Duration::from_secs(60);

/// A relay with one shard at all addresses of a namespace, and somebody at the other end
/// of a cable from `eth0`.
struct Scene<'a> {
    relay: Relay<'a>,
    at: &'a Namespace,
    other: &'a Namespace,
    /// The relay's address for them.
    address: SocketAddr,
    _folder: TempDir,
}

impl<'a> Scene<'a> {
    /// With these variables in its environment. Where there is a token bucket, `eth0` has
    /// one that holds nothing up.
    fn new([at, other]: [&'a Namespace; 2], set: &[(&str, &str)]) -> Self {
        let [ip, _] = cable([at, other], "eth0", 1).unwrap();
        let _ = bottleneck::outgoing(at, "eth0", 1_000_000_000, 10_000_000);
        let folder = temporary_state().unwrap();
        let mut launch = Launch::on(at, (Ipv4Addr::UNSPECIFIED, 0).into(), folder.path());
        launch.arguments = ["--shards", "1"].map(Into::into).into();
        let mut command = launch.command();
        command.envs(set.iter().copied());
        let relay = Relay::from_command(command, Some(at)).unwrap();
        let address = (ip, relay.listen().port()).into();
        Self { relay, at, other, address, _folder: folder }
    }

    fn output(&self, program: &str, arguments: &str) -> String {
        let output = self.at.command(program).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "{program} {arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packets that the queue of `eth0` passed on and dropped, as `tc` has them.
    fn queue(&self) -> (u64, u64) {
        let text = self.output("tc", "-s qdisc show dev eth0");
        (between(&text, " bytes ", " pkt"), between(&text, "(dropped ", ","))
    }

    /// Packets that the kernel dropped before the relay read them, by /proc/net/udp.
    fn unread(&self) -> u64 {
        let port = format!(":{:04X}", self.address.port());
        let table = self.output("cat", "/proc/thread-self/net/udp");
        let own = table.lines().filter(|line| {
            line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port))
        });
        own.map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// `SndbufErrors` of the namespace.
    fn send_buffer_errors(&self) -> u64 {
        let v4 = self.output("cat", "/proc/thread-self/net/snmp");
        let mut lines = v4.lines().filter_map(|line| line.strip_prefix("Udp:"));
        let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
        let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
        pairs.find(|(name, _)| *name == "SndbufErrors").unwrap().1.parse().unwrap()
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let scrape = self.relay.scrape().unwrap();
        scrape.sum(name, labels).unwrap_or_else(|| panic!("no {name}: {scrape:?}")) as u64
    }

    /// What `/health` says, and of the network.
    fn health(&self) -> (String, String) {
        let health: Value = serde_json::from_str(&self.relay.get("/health").unwrap().body).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&health["status"]), text(&health["checks"]["network"]))
    }

    /// Has ten people in a room who all talk for some seconds, once they have joined.
    fn talk(&self) -> Process {
        let mut command = self.other.command(binaries::client());
        command.args(["load", "--json", "--pin", self.relay.fingerprint()]);
        command.args(["--room-prefix", "hall", "--members", "10", "--duration", "4"]);
        command.arg(self.address.to_string());
        let load = Process::start("wzp-client load", command).unwrap();
        let joined = load.next_line(Instant::now() + LIMIT).unwrap().unwrap();
        assert!(joined.contains("joined"), "{joined}");
        load
    }
}

/// The number between two texts.
fn between(text: &str, behind: &str, before: &str) -> u64 {
    let (_, rest) = text.split_once(behind).unwrap_or_else(|| panic!("no {behind:?}: {text}"));
    rest.split_once(before).unwrap().0.trim().parse().unwrap()
}

/// Waits until both are the same: the relay looks at interfaces once a second.
fn agree<T: PartialEq + std::fmt::Debug>(said: impl Fn() -> T, true_: impl Fn() -> T) -> T {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (told, is) = (said(), true_());
        if told == is {
            return told;
        }
        assert!(Instant::now() < deadline, "told {told:?}, and it is {is:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_a_queue_drops_is_told_as_tc_has_it() {
    if !skip::have_bottlenecks("what_a_queue_drops_is_told_as_tc_has_it") {
        return;
    }
    let ends = ["relay", "hall"].map(|label| Namespace::new(label).unwrap());
    let scene = Scene::new(ends.each_ref(), &[]);
    let mut load = scene.talk();
    // Half of what ten people are sent, and no room for the rest.
    bottleneck::outgoing(scene.at, "eth0", 3_500_000, 5_000).unwrap();
    load.wait(LIMIT).unwrap();
    let eth0 = [("interface", "eth0")];
    let told = || {
        (
            scene.metric("wzp_relay_interface_queue_packets_total", &eth0),
            scene.metric("wzp_relay_interface_queue_drops_total", &eth0),
        )
    };
    let (passed, dropped) = agree(told, || scene.queue());
    let share = dropped as f64 / (passed + dropped) as f64;
    println!("{passed} packets passed the queue, {dropped} did not: {:.0} %", share * 100.0);
    assert!((0.1..0.9).contains(&share), "{share}");
    let errors = agree(
        || scene.metric("wzp_relay_udp_send_buffer_errors_total", &[]),
        || scene.send_buffer_errors(),
    );
    // The relay alone sends here, but for what a kernel says of a new interface.
    assert!((dropped.saturating_sub(10)..=dropped).contains(&errors), "{errors} of {dropped}");
    let (status, network) = scene.health();
    println!("{status}: {network}");
    assert_eq!(status, "degraded");
    for part in ["the queue before eth0 dropped", "forward.bundle_window", "tc -s qdisc"] {
        assert!(network.contains(part), "no {part:?}: {network}");
    }
    assert_eq!(scene.metric("wzp_relay_udp_send_errors_total", &[]), 0, "all were taken");
}

#[test]
fn what_a_small_buffer_drops_is_told_with_the_key_that_helps() {
    if !skip::have_namespaces("what_a_small_buffer_drops_is_told_with_the_key_that_helps") {
        return;
    }
    let ends = ["relay", "crowd"].map(|label| Namespace::new(label).unwrap());
    let small = [("WZP_RELAY__RECEIVE_BUFFER_BYTES", "4096")];
    let scene = Scene::new(ends.each_ref(), &small);
    assert_eq!(scene.health(), ("healthy".into(), "ok".into()));
    scene.other.run(|| {
        let crowd = UdpSocket::bind("0.0.0.0:0").unwrap();
        // No packets of QUIC: dropped by the relay, if it gets them.
        (0..20_000).for_each(|_| drop(crowd.send_to(&[0; 100], scene.address)));
    });
    let lost = || scene.metric("wzp_relay_udp_receive_drops_total", &[]);
    let lost = agree(lost, || scene.unread());
    let received = scene.metric("wzp_relay_udp_packets_received_total", &[]);
    println!("{received} packets were received, {lost} were not");
    assert!(lost > received / 100, "nothing was lost");
    let (status, network) = scene.health();
    println!("{status}: {network}");
    assert_eq!(status, "degraded");
    assert!(network.contains("relay.receive_buffer_bytes"), "{network}");
}
