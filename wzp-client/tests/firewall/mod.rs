//! A firewall between clients and a relay that forgets them: from some time on nothing
//! that a client sends gets through, or nothing at all.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What it stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stops {
    /// What the client sends.
    OneDirection,
    /// What the relay sends, too.
    Both,
}

/// Where clients find the relay. What comes from the first of them is dropped after it
/// has sent for so long; who comes later is another flow.
pub(crate) fn in_front_of(relay: SocketAddr, stops: Stops, after: Duration) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = front.local_addr().unwrap();
    thread::spawn(move || {
        let mut flows: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut first = None;
        let mut packet = [0; 2048];
        while let Ok((length, client)) = front.recv_from(&mut packet) {
            let (known, since) = *first.get_or_insert((client, Instant::now()));
            if client == known && since.elapsed() > after {
                continue;
            }
            let until = (stops == Stops::Both && client == known).then(|| since + after);
            let flow = flows.entry(client).or_insert_with(|| open(&front, client, relay, until));
            let _ = flow.send(&packet[..length]);
        }
    });
    address
}

/// A client's way to the relay, and back until then.
fn open(
    front: &Arc<UdpSocket>,
    client: SocketAddr,
    relay: SocketAddr,
    until: Option<Instant>,
) -> UdpSocket {
    let flow = UdpSocket::bind("127.0.0.1:0").unwrap();
    flow.connect(relay).unwrap();
    let (back, front) = (flow.try_clone().unwrap(), Arc::clone(front));
    thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok(length) = back.recv(&mut packet) {
            if until.is_none_or(|until| Instant::now() < until) {
                let _ = front.send_to(&packet[..length], client);
            }
        }
    });
    flow
}
