//! What all sides have counted at a moment when nothing moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use wzp_testbed::netns::Family;
use wzp_testbed::relay::Relay;

use crate::count::Count;
use crate::member::{Member, Quic, header_len};
use crate::truth::{Seen, Truth};
use crate::{control, value};

const ETHERNET: u64 = 14;

/// Both directions, from the relay's point of view, in frames of Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Both {
    pub(crate) rx: Count,
    pub(crate) tx: Count,
}

impl Both {
    pub(crate) fn of(all: &[Self]) -> Self {
        let sum = |way: fn(&Self) -> Count| all.iter().map(way).sum();
        Self { rx: sum(|both| both.rx), tx: sum(|both| both.tx) }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { rx: self.rx - before.rx, tx: self.tx - before.tx }
    }
}

/// A moment when nothing moves.
pub(crate) struct Look {
    pub(crate) nftables: BTreeMap<u16, Seen>,
    /// By member.
    pub(crate) quic: Vec<Quic>,
    /// What the relay's kernel counted for each session.
    pub(crate) kernel: BTreeMap<String, Flow>,
    pub(crate) counted: Both,
    pub(crate) unattributed: Both,
    /// Packets that the relay's sockets did not see.
    pub(crate) lost: [Option<f64>; 2],
}

/// As `wzp-relay ctl flows --json` prints it.
#[derive(Deserialize)]
pub(crate) struct Flow {
    pub(crate) session_id: String,
    pub(crate) peer: SocketAddr,
    rx_packets: u64,
    rx_bytes: u64,
    tx_packets: u64,
    tx_bytes: u64,
}

impl Flow {
    pub(crate) fn both(&self) -> Both {
        Both {
            rx: Count { packets: self.rx_packets, bytes: self.rx_bytes },
            tx: Count { packets: self.tx_packets, bytes: self.tx_bytes },
        }
    }
}

/// Waits for a moment when nothing moves.
pub(crate) async fn look(
    truth: &Truth<'_>,
    relay: &Relay<'_>,
    folder: &Path,
    members: &[Member],
) -> Look {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let nftables = truth.read();
        // Longer than acknowledgements are held back and a round trip takes.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if truth.read() == nftables {
            let flows = control(folder, &["flows", "--json"]);
            let scrape = relay.scrape().unwrap();
            let flows: Vec<Flow> = serde_json::from_str(&flows).unwrap();
            let both = |labels: &[(&str, &str)]| {
                let one = |direction| {
                    let labels = [labels, &[("direction", direction)]].concat();
                    Count {
                        packets: value(&scrape, "wzp_ebpf_packets_total", &labels),
                        bytes: value(&scrape, "wzp_ebpf_bytes_total", &labels),
                    }
                };
                Both { rx: one("rx"), tx: one("tx") }
            };
            let lost = ["rx", "tx"].map(|direction| {
                scrape.sum("wzp_ebpf_difference_packets", &[("direction", direction)])
            });
            if truth.read() == nftables {
                return Look {
                    nftables,
                    quic: members.iter().map(Member::quic).collect(),
                    kernel: flows.into_iter().map(|flow| (flow.session_id.clone(), flow)).collect(),
                    counted: both(&[]),
                    unattributed: both(&[("attributed", "no")]),
                    lost,
                };
            }
        }
        assert!(Instant::now() < deadline, "packets never stop");
    }
}

impl Look {
    /// What crossed the wire for a member, at all addresses that it has had.
    pub(crate) fn wire(&self, number: usize, member: &Member, family: Family) -> Both {
        let seen = member.ports.map(|port| self.nftables.get(&port).copied().unwrap_or_default());
        let [sent, received] = [|seen: Seen| seen.sent, |seen: Seen| seen.received]
            .map(|way| seen.into_iter().map(way).sum::<Count>());
        let quic = self.quic[number];
        // Each buffer had one header when nftables saw it; each datagram has
        // its own on the wire.
        let joined = quic.sent.packets - sent.packets;
        assert!(member.manner.gso || joined == 0, "member {number} joined datagrams");
        let header = member.manner.header_len(family);
        let rx = Count { packets: quic.sent.packets, bytes: sent.bytes + joined * header };
        assert_eq!(rx, quic.sent.with_headers(header), "member {number}: QUIC and nftables");
        // A datagram to the socket before the last may come too late for QUIC.
        if !member.manner.moves {
            let of_quic = quic.received.with_headers(header_len(family));
            assert_eq!(received, of_quic, "member {number}: nftables and QUIC");
        }
        Both { rx: rx.with_headers(ETHERNET), tx: received.with_headers(ETHERNET) }
    }
}
