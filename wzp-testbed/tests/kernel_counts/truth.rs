//! What nftables counts in the clients' namespace, by client port. All clients
//! have one address there, so the port is the flow.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use serde::Deserialize;
use wzp_testbed::netns::Host;

use crate::count::Count;

/// Counts UDP in both directions, before anything is lost here. Large buffers
/// that the kernel has yet to cut into datagrams are one packet to it.
pub(crate) struct Truth<'a>(&'a Host);

/// Packets and bytes of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) sent: Count,
    pub(crate) received: Count,
}

const RULES: &str = "table inet truth {
    set sent { type inet_service; flags dynamic; }
    set received { type inet_service; flags dynamic; }
    chain o {
        type filter hook output priority 0;
        meta l4proto udp update @sent { udp sport counter }
    }
    chain i {
        type filter hook input priority 0;
        meta l4proto udp update @received { udp dport counter }
    }
}
";

impl<'a> Truth<'a> {
    /// Counts from now on.
    pub(crate) fn start(host: &'a Host) -> Self {
        let truth = Self(host);
        truth.nft(&["-f", "-"], RULES);
        truth
    }

    /// What was counted by now.
    pub(crate) fn read(&self) -> BTreeMap<u16, Seen> {
        let mut all: BTreeMap<_, Seen> = BTreeMap::new();
        for (port, count) in self.set("sent") {
            all.entry(port).or_default().sent = count;
        }
        for (port, count) in self.set("received") {
            all.entry(port).or_default().received = count;
        }
        all
    }

    fn set(&self, name: &str) -> Vec<(u16, Count)> {
        let text = self.nft(&["-j", "list", "set", "inet", "truth", name], "");
        let listing: Listing = serde_json::from_str(&text).unwrap();
        let sets = listing.nftables.into_iter().filter_map(|object| object.set);
        sets.flat_map(|set| set.elem).map(|Entry { elem }| (elem.val, elem.counter)).collect()
    }

    fn nft(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.0.namespace.command("nft");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "nft {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// libnftables-json(5).
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    set: Option<Set>,
}

#[derive(Deserialize)]
struct Set {
    #[serde(default)]
    elem: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    elem: Element,
}

#[derive(Deserialize)]
struct Element {
    val: u16,
    counter: Count,
}
