//! Private networks: network namespaces joined by a bridge in a namespace of
//! its own. The machine's own interfaces are never touched, and nothing is
//! left: namespaces go when their owner does, and those of dead processes are
//! swept before new ones are made.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps its handles.
const DIRECTORY: &str = "/run/netns";

/// All names begin so, followed by the owner's process id.
const PREFIX: &str = "wzp-";

/// A network namespace with its loopback up. Removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new namespace; `label` helps people who look at `ip netns`.
    ///
    /// # Errors
    /// `ip` is missing, or this process may not make namespaces.
    pub fn new(label: &str) -> Result<Self> {
        static SWEPT: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. The process that starts is the program
    /// itself: signals reach it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `work` on a thread inside, and every thread that it starts.
    ///
    /// # Panics
    /// The namespace cannot be entered, or `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let handle = File::open(Path::new(DIRECTORY).join(&self.name))
                .expect("the namespace exists as long as its owner");
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("whoever makes a namespace may enter it");
            work()
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// `ip` with these arguments, inside.
    ///
    /// # Errors
    /// It is missing, or fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

/// One machine of a [`Network`].
#[derive(Debug)]
pub struct Host {
    /// Where its programs run.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// Its address of that family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Hosts on one Ethernet segment: a veth pair from each to a bridge.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    bridge: Namespace,
}

impl Network {
    /// As many hosts as there are labels, in that order.
    ///
    /// # Errors
    /// `ip` is missing, or this process may not make namespaces.
    pub fn new(labels: &[&str]) -> Result<Self> {
        Self::with_mtu(labels, 1500)
    }

    /// The same with another MTU, in bytes, at least 1280 (RFC 8200 section 5).
    ///
    /// # Errors
    /// `ip` is missing, or this process may not make namespaces.
    pub fn with_mtu(labels: &[&str], mtu: u16) -> Result<Self> {
        let bridge = Namespace::new("bridge")?;
        // Snooping would hold back neighbour discovery until a querier speaks.
        bridge.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        bridge.ip(&["link", "set", "br0", "up"])?;
        let mut hosts = Vec::new();
        for (number, label) in (1..).zip(labels) {
            let host = Host {
                namespace: Namespace::new(label)?,
                v4: Ipv4Addr::new(10, 77, 0, number),
                v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()),
            };
            attach(&bridge, &host, &port(number), &mtu.to_string())?;
            hosts.push(host);
        }
        Ok(Self { hosts, bridge })
    }

    /// The hosts in the order of their labels.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Has these CPUs process what a host sends, from the wire on, and not the
    /// one that sent it: with a real network that is another machine's work. The
    /// host by its place in [`Self::hosts`].
    ///
    /// # Errors
    /// The kernel does not do receive packet steering.
    pub fn process_on(&self, host: u8, cpus: &BTreeSet<usize>) -> Result<()> {
        let file = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", port(host + 1));
        let write = format!("echo {} > {file}", cpu_mask(cpus));
        let status = self.bridge.command("sh").args(["-c", &write]).status()?;
        if !status.success() {
            bail!("cannot write {file}");
        }
        Ok(())
    }
}

/// A veth pair between two namespaces. Both ends have that name, and the first two
/// addresses of the network `10.78.NUMBER.0/24`, which are given back.
///
/// # Errors
/// `ip` is missing, or one of them has an interface of that name.
pub fn cable(ends: [&Namespace; 2], name: &str, number: u8) -> Result<[Ipv4Addr; 2]> {
    let peer = ["peer", "name", name, "netns", ends[1].name()];
    ends[0].ip(&[&["link", "add", name, "type", "veth"][..], &peer].concat())?;
    let addresses = [1, 2].map(|host| Ipv4Addr::new(10, 78, number, host));
    for (end, address) in ends.iter().zip(addresses) {
        end.ip(&["address", "add", &format!("{address}/24"), "dev", name])?;
        end.ip(&["link", "set", name, "up"])?;
    }
    Ok(addresses)
}

/// The bridge's end of a host's cable; the first is number 1.
fn port(number: u8) -> String {
    format!("port{number}")
}

/// A set of CPUs as sysfs takes it: 32 to a group, the highest first.
fn cpu_mask(cpus: &BTreeSet<usize>) -> String {
    let groups = cpus.last().map_or(1, |last| last / 32 + 1);
    let group = |number: usize| {
        let bits = cpus.iter().filter(|cpu| *cpu / 32 == number).map(|cpu| 1u32 << (cpu % 32));
        format!("{:x}", bits.sum::<u32>())
    };
    (0..groups).rev().map(group).collect::<Vec<_>>().join(",")
}

fn attach(bridge: &Namespace, host: &Host, port: &str, mtu: &str) -> Result<()> {
    let namespace = &host.namespace;
    let peer = ["peer", "name", "eth0", "mtu", mtu, "netns", namespace.name()];
    bridge.ip(&[&["link", "add", port, "mtu", mtu, "type", "veth"][..], &peer].concat())?;
    bridge.ip(&["link", "set", port, "master", "br0", "up"])?;
    namespace.ip(&["address", "add", &format!("{}/24", host.v4), "dev", "eth0"])?;
    // The addresses are unique by construction; waiting for duplicate address
    // detection would cost every test a second or two.
    namespace.ip(&["address", "add", &format!("{}/64", host.v6), "dev", "eth0", "nodad"])?;
    namespace.ip(&["link", "set", "eth0", "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot start ip; install it (Debian: iproute2)")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), reason.trim());
    }
    Ok(())
}

/// Removes namespaces whose owner died without cleaning up.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let dead = owner(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if dead {
            // Another test may be sweeping at this moment and be first.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

/// The process that made the namespace of that name, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    parts.next().map(|_| pid)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::skip;

    #[test]
    fn only_our_own_names_have_an_owner() {
        let cases = [
            ("wzp-12-0-relay", Some(12)),
            ("wzp-12-0-two-words", Some(12)),
            ("wzp-12-relay", None),
            ("wzp-relay", None),
            ("other-12-0-relay", None),
        ];
        for (name, expected) in cases {
            assert_eq!(owner(name), expected, "{name}");
        }
    }

    #[test]
    fn sets_of_cpus_are_written_in_groups() {
        for (cpus, mask) in
            [(&[0][..], "1"), (&[1, 2, 3], "e"), (&[31], "80000000"), (&[1, 64], "1,0,2")]
        {
            assert_eq!(cpu_mask(&cpus.iter().copied().collect()), mask);
        }
    }

    #[test]
    fn hosts_reach_each_other_and_nothing_is_left() {
        if !skip::have_namespaces("hosts_reach_each_other_and_nothing_is_left") {
            return;
        }
        let network = Network::with_mtu(&["a", "b"], 1400).unwrap();
        let [a, b] = network.hosts() else { panic!("two hosts") };
        for family in [Family::V4, Family::V6] {
            let receiver = b.namespace.run(|| UdpSocket::bind((b.address(family), 0)).unwrap());
            receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let to = receiver.local_addr().unwrap();
            a.namespace.run(|| {
                let sender = UdpSocket::bind((a.address(family), 0)).unwrap();
                sender.send_to(b"hello", to).unwrap();
            });
            let mut bytes = [0; 16];
            let (length, from) = receiver.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from.ip()), (&b"hello"[..], a.address(family)));
        }
        let mtu = a.namespace.command("cat").arg("/sys/class/net/eth0/mtu").output().unwrap();
        assert_eq!(mtu.stdout, b"1400\n");
        let names: Vec<_> =
            network.hosts().iter().map(|host| host.namespace.name().to_owned()).collect();
        drop(network);
        for name in names {
            assert!(!Path::new(DIRECTORY).join(&name).exists(), "{name} is left");
        }
    }

    #[test]
    fn namespaces_of_the_dead_are_swept() {
        if !skip::have_namespaces("namespaces_of_the_dead_are_swept") {
            return;
        }
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = format!("{PREFIX}{}-0-dead", child.id());
        ip(&["netns", "add", &dead]).unwrap();
        let alive = Namespace::new("alive").unwrap();
        sweep();
        assert!(!Path::new(DIRECTORY).join(&dead).exists());
        assert!(Path::new(DIRECTORY).join(alive.name()).exists());
    }
}
