//! Packets of strangers who finish no handshake. Their addresses are as many as a
//! forger has.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quinn_proto::{ClientConfig, Endpoint, EndpointConfig};
use rand::RngExt;

use super::{Attack, Attacking, Sent, each, nothing_special};
use crate::scene::{Target, stranger_v4};
use wzp_transport::join::client_config;
use wzp_transport::trust::Trust;

/// How many source addresses the forged packets have.
const ADDRESSES: u16 = 512;

/// Sockets that take turns.
const BURST: usize = 200;

/// Between two bursts: 20,000 packets a second.
const PAUSE: Duration = Duration::from_millis(10);

/// A client that sends its first packet and does not answer.
pub(super) const INITIALS: Attack = Attack {
    name: "initials",
    sends: "20,000 QUIC Initial packets a second from 512 addresses, none of which answers",
    prepare: nothing_special,
    run: |target, end| flood(target, end, initials),
};

/// Bytes that are no packets.
pub(super) const GARBAGE: Attack = Attack {
    name: "garbage",
    sends: "20,000 packets of random bytes a second from 512 addresses",
    prepare: nothing_special,
    run: |target, end| flood(target, end, |_| Ok(random(0..=255))),
};

/// Packets of connections that there are not.
pub(super) const UNKNOWN: Attack = Attack {
    name: "unknown",
    sends: "20,000 packets of unknown connections a second from 512 addresses, each of which asks for a stateless reset",
    prepare: nothing_special,
    run: |target, end| flood(target, end, |_| Ok(random(0x40..=0x7f))),
};

fn flood(target: Target, end: Instant, packets: fn(&Target) -> Result<Vec<Vec<u8>>>) -> Attacking {
    Box::pin(async move {
        let packets = packets(&target)?;
        let sockets: Vec<_> = (0..ADDRESSES)
            .map(|number| UdpSocket::bind((stranger_v4(number), 0)))
            .collect::<Result<_, _>>()?;
        let mut sent = Sent::default();
        let mut next = 0usize;
        each(PAUSE, end, async || {
            for _ in 0..BURST {
                let socket = &sockets[next % sockets.len()];
                let packet = &packets[next % packets.len()];
                next = next.wrapping_add(1);
                if socket.send_to(packet, target.relay).is_ok() {
                    sent.count("packets sent", 1);
                }
            }
        })
        .await;
        Ok(sent)
    })
}

/// First packets of a thousand clients.
fn initials(target: &Target) -> Result<Vec<Vec<u8>>> {
    let config: ClientConfig = client_config(Trust::Pinned(target.pin))?;
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    (0..1009)
        .map(|_| {
            let now = Instant::now();
            let (_, mut connection) =
                endpoint.connect(now, config.clone(), target.relay, "relay")?;
            let mut packet = Vec::new();
            let first = connection.poll_transmit(now, 1, &mut packet);
            ensure!(first.is_some(), "a client has a first packet");
            Ok(packet)
        })
        .collect()
}

/// A thousand packets that begin with a byte of that range.
fn random(first: std::ops::RangeInclusive<u8>) -> Vec<Vec<u8>> {
    let mut rng = rand::rng();
    (0..1009)
        .map(|_| {
            let mut packet = vec![0; rng.random_range(21..=1200)];
            rng.fill(&mut packet[..]);
            packet[0] = rng.random_range(first.clone());
            packet
        })
        .collect()
}
