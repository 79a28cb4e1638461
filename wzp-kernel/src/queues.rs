//! What interfaces and the queues before them did with packets after the relay had given
//! them to the kernel. The relay's own counts, and those of its kernel programs, end before
//! the queue: what is dropped there was sent, as far as a socket can tell.
//!
//! A thread of its own reads them once a second: the kernel's lock on interfaces may be
//! held for long by others, and nobody who wants numbers is to wait for it.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use wzp_telemetry::lock::{Mutex, MutexGuard};

use crate::addresses::carrying;
use crate::netlink::{self, Extent, Family, attribute, find, u32_at, u64_at};

/// How often they are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// Interfaces that are looked at when none is named: a host of containers has hundreds.
const MOST: usize = 16;

/// Requests (linux/rtnetlink.h).
const GET_LINK: u16 = 18;
const GET_QUEUE: u16 = 38;

/// The queue of an interface that all its packets pass.
const ROOT: u32 = u32::MAX;

/// Why interfaces do not take packets, as they count it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceErrors {
    /// Received, and dropped before they came to a socket.
    pub rx_dropped: u64,
    /// Not taken from the wire in time.
    pub rx_missed: u64,
    /// Damaged.
    pub rx_errors: u64,
    /// Dropped on their way out, behind the queue.
    pub tx_dropped: u64,
    /// Not sent for another reason.
    pub tx_errors: u64,
}

impl InterfaceErrors {
    /// Each with its name as `ip -s -s link` has it.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("rx_dropped", self.rx_dropped),
            ("rx_missed", self.rx_missed),
            ("rx_errors", self.rx_errors),
            ("tx_dropped", self.tx_dropped),
            ("tx_errors", self.tx_errors),
        ]
    }
}

/// The queue (qdisc) before an interface, all that is in it together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Packets that passed.
    pub packets: u64,
    /// Packets that did not.
    pub drops: u64,
    /// Packets that wait now.
    pub waiting: u64,
}

/// What an interface has counted since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceCounts {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub errors: InterfaceErrors,
    /// The queue before it; `None`: it has none, as most that are not hardware.
    pub queue: Option<Queue>,
}

/// Which interfaces are looked at, and what they last said.
#[derive(Clone, Debug)]
pub struct QueueWatch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    named: Vec<String>,
    listening: IpAddr,
    last: Mutex<Vec<InterfaceCounts>>,
}

impl QueueWatch {
    /// Those that are named, else those that carry the address that the relay listens on,
    /// whichever they are at the time.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn look_after(named: Vec<String>, listening: IpAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared { named, listening, last: Mutex::default() });
        // Whoever looks next sees what has happened since.
        shared.look();
        let watched = Arc::downgrade(&shared);
        thread::Builder::new().name("interfaces".into()).spawn(move || watch(&watched))?;
        Ok(Self(shared))
    }

    /// As they were a second ago at most, or when the kernel last answered.
    pub fn counts(&self) -> Vec<InterfaceCounts> {
        self.0.last().clone()
    }
}

impl Shared {
    fn last(&self) -> MutexGuard<'_, Vec<InterfaceCounts>> {
        // It is replaced whole, so a panic elsewhere is no harm.
        self.last.lock()
    }

    fn look(&self) {
        let carrying = || carrying(self.listening);
        let names = if self.named.is_empty() { carrying() } else { self.named.clone() };
        // What does not answer now may the next time.
        if let Ok(counts) = read(names.iter().take(MOST.max(self.named.len()))) {
            *self.last() = counts;
        }
    }
}

fn watch(shared: &Weak<Shared>) {
    loop {
        thread::sleep(INTERVAL);
        let Some(shared) = shared.upgrade() else { return };
        shared.look();
    }
}

/// What these say, of which those that are not there have nothing to say.
fn read<'a>(names: impl Iterator<Item = &'a String>) -> io::Result<Vec<InterfaceCounts>> {
    let queues = queues()?;
    let found = names.filter_map(|name| {
        let link = link(name).ok()?;
        let queue = queues.iter().find(|(index, _)| *index == link.index);
        let queue = queue.map(|(_, queue)| *queue);
        Some(InterfaceCounts { name: name.clone(), errors: link.errors()?, queue })
    });
    Ok(found.collect())
}

/// An interface as the kernel describes it.
pub(crate) struct Link {
    /// Its number.
    pub(crate) index: u32,
    attributes: Vec<u8>,
}

/// The interface of that name.
///
/// # Errors
/// There is none, or the kernel does not tell.
pub(crate) fn link(name: &str) -> io::Result<Link> {
    const NAME: u16 = 3;
    let name = attribute(NAME, &[name.as_bytes(), b"\0"].concat());
    let content = [&[0; INTERFACE_HEADER][..], &name].concat();
    let answer = netlink::ask(Family::Route, GET_LINK, Extent::One, &content)?.pop();
    let answer = answer.ok_or(io::ErrorKind::NotFound)?;
    let index = u32_at(&answer, 4).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Link { index, attributes: answer.get(INTERFACE_HEADER..).unwrap_or_default().to_vec() })
}

/// `struct ifinfomsg`: family, type, number, flags, change.
const INTERFACE_HEADER: usize = 16;

impl Link {
    /// One of its attributes (IFLA_, linux/if_link.h).
    pub(crate) fn attribute(&self, kind: u16) -> Option<&[u8]> {
        find(&self.attributes, kind)
    }

    /// Of `struct rtnl_link_stats64`, in which each number has eight bytes.
    fn errors(&self) -> Option<InterfaceErrors> {
        const STATISTICS: u16 = 23;
        let statistics = self.attribute(STATISTICS)?;
        let number = |place: usize| u64_at(statistics, place * 8);
        Some(InterfaceErrors {
            rx_errors: number(4)?,
            tx_errors: number(5)?,
            rx_dropped: number(6)?,
            tx_dropped: number(7)?,
            rx_missed: number(15)?,
        })
    }
}

/// The queues that all of an interface's packets pass, with its number.
fn queues() -> io::Result<Vec<(u32, Queue)>> {
    let answers = netlink::ask(Family::Route, GET_QUEUE, Extent::All, &[0; QUEUE_HEADER])?;
    Ok(answers.iter().filter_map(|answer| queue(answer)).collect())
}

/// `struct tcmsg`: family, the interface's number, handle, parent, info.
const QUEUE_HEADER: usize = 20;

fn queue(answer: &[u8]) -> Option<(u32, Queue)> {
    /// TCA_KIND, TCA_STATS2 and what is in it (linux/rtnetlink.h, linux/gen_stats.h).
    const KIND: u16 = 1;
    const STATISTICS: u16 = 7;
    const BASIC: u16 = 1;
    const LENGTHS: u16 = 3;
    const PACKETS: u16 = 8;
    let (index, parent) = (u32_at(answer, 4)?, u32_at(answer, 12)?);
    let attributes = answer.get(QUEUE_HEADER..)?;
    // What the kernel calls so queues nothing and counts nothing.
    if find(attributes, KIND)? == b"noqueue\0" {
        return None;
    }
    let statistics = find(attributes, STATISTICS)?;
    let lengths = find(statistics, LENGTHS)?;
    // The first is told by kernels whose 32 bits have not been enough.
    let packets = find(statistics, PACKETS).and_then(|packets| u64_at(packets, 0));
    let packets = packets.or_else(|| u32_at(find(statistics, BASIC)?, 8).map(u64::from))?;
    let queue =
        Queue { packets, waiting: u32_at(lengths, 0)?.into(), drops: u32_at(lengths, 8)?.into() };
    (parent == ROOT).then_some((index, queue))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use wzp_testbed::impair::bottleneck;
    use wzp_testbed::netns::{Namespace, cable};
    use wzp_testbed::skip;

    use super::*;

    #[test]
    fn a_queue_tells_what_it_dropped() {
        if !skip::have_bottlenecks("a_queue_tells_what_it_dropped") {
            return;
        }
        let [host, other] = ["host", "other"].map(|name| Namespace::new(name).unwrap());
        let [_, to] = cable([&host, &other], "eth0", 1).unwrap();
        // Some 30 packets pass, and a few wait.
        bottleneck::outgoing(&host, "eth0", 1000, 4000).unwrap();
        let names = ["eth0", "nothing"].map(str::to_owned);
        host.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..200 {
                // Told as sent all the same, which is what this is about.
                socket.send_to(&[0; 458], (to, 9)).unwrap();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let counts = host.run(|| read(names.iter()).unwrap());
            let [InterfaceCounts { name, queue: Some(queue), .. }] = &counts[..] else {
                panic!("{counts:?}")
            };
            assert_eq!(name, "eth0");
            assert!(queue.drops > 100 && queue.waiting > 0, "{queue:?}");
            // The kernel sends a few of its own when an interface is new.
            let is = tc(&host);
            if (queue.packets, queue.drops) == is {
                return;
            }
            assert!(Instant::now() < deadline, "{queue:?}, and tc says {is:?}");
        }
    }

    #[test]
    fn an_interface_without_a_queue_has_none() {
        if !skip::have_namespaces("an_interface_without_a_queue_has_none") {
            return;
        }
        let [host, other] = ["host", "other"].map(|name| Namespace::new(name).unwrap());
        cable([&host, &other], "eth0", 1).unwrap();
        let counts = host.run(|| read(["eth0".to_owned()].iter()).unwrap());
        let [InterfaceCounts { queue, .. }] = &counts[..] else { panic!("{counts:?}") };
        assert_eq!(*queue, None);
    }

    /// Packets that passed and were dropped, as `tc -s` has them.
    fn tc(host: &Namespace) -> (u64, u64) {
        let output = host.command("tc").args("-s qdisc show dev eth0".split(' ')).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let number = |behind: &str, before: &str| -> u64 {
            let (_, rest) = text.split_once(behind).unwrap();
            rest.split_once(before).unwrap().0.trim().parse().unwrap()
        };
        (number(" bytes ", " pkt"), number("(dropped ", ","))
    }
}
