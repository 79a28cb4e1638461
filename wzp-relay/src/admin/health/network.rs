//! `network`: whether packets get through this host, from the interface to the shard and
//! back. Each place where they are dropped is told with what helps there.

use std::ops::Sub;

use wzp_telemetry::health::{Check, Consequence};

use super::{LOSS, is_above};
use crate::metrics::Sources;
use crate::net::send_drops;
use crate::net::socket::Buffers;
use wzp_kernel::queues::InterfaceCounts;

/// Packets since the start, or in the last minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) received: u64,
    /// Not read from the sockets in time.
    pub(super) unread: u64,
    /// Taken by the kernel.
    pub(super) sent: u64,
    /// Packets that the kernel did not take.
    pub(super) refused: u64,
    /// Taken and dropped at a full queue, as far as the kernel tells the network
    /// namespace of it.
    pub(super) dropped: u64,
    /// What queues passed on and dropped, by interface.
    pub(super) queues: Vec<(String, u64, u64)>,
}

impl Traffic {
    pub(super) fn of(sources: &Sources) -> Self {
        // First: what comes meanwhile is rather counted by neither.
        let errors = send_drops::send_buffer_errors().unwrap_or(0);
        let mut traffic = Self {
            unread: sources.receive_drops.total().unwrap_or(0),
            queues: sources.interfaces.counts().into_iter().filter_map(queue).collect(),
            ..Self::default()
        };
        // The kernel counts a socket without room at the packet that finds it so, and
        // again where others left in the same call.
        let mut waits = 0;
        for shard in &sources.shards {
            traffic.received += shard.udp_packets_received.get();
            traffic.sent += shard.udp_packets_sent.get();
            traffic.refused += shard.udp_send_errors();
            waits += 2 * shard.send_lane_fills.get();
        }
        traffic.dropped = errors.saturating_sub(waits);
        traffic
    }

    /// Judges the last minute.
    pub(super) fn check(&self, buffers: Option<Buffers>) -> Check {
        let problems = [self.refused(), self.unread(buffers), self.dropped()];
        let problems: Vec<_> = problems.into_iter().flatten().chain(self.queues()).collect();
        if problems.is_empty() {
            return Check::ok("network");
        }
        Check::failed("network", Consequence::Degraded, problems.join("; "))
    }

    fn refused(&self) -> Option<String> {
        let all = self.sent.saturating_add(self.refused);
        is_above(LOSS, self.refused, all).then(|| {
            format!(
                "the kernel did not take {} of {all} UDP packets in the last minute",
                self.refused
            )
        })
    }

    fn unread(&self, buffers: Option<Buffers>) -> Option<String> {
        let all = self.received.saturating_add(self.unread);
        is_above(LOSS, self.unread, all).then(|| {
            let is_small =
                buffers.is_some_and(|Buffers { receive: (size, wanted), .. }| size < wanted);
            let help = if is_small {
                "raise the sysctl net.core.rmem_max, or grant CAP_NET_ADMIN"
            } else {
                "raise relay.receive_buffer_bytes, or give the relay more processors and \
                 relay.shards"
            };
            format!(
                "{} of {all} UDP packets that came in the last minute were dropped because a \
                 shard did not read them in time; {help}",
                self.unread
            )
        })
    }

    /// The kernel counts these of all programs together, so any of them could page the
    /// operator. It is asked only where no queue tells of itself.
    fn dropped(&self) -> Option<String> {
        let is_blind = self.queues.is_empty();
        (is_blind && is_above(LOSS, self.dropped, self.sent)).then(|| {
            format!(
                "the kernel dropped or did not take {} UDP packets of this network namespace at \
                 full queues in the last minute, while the relay sent {}; tc -s qdisc says \
                 where, and a larger forward.bundle_window sends fewer packets",
                self.dropped, self.sent
            )
        })
    }

    fn queues(&self) -> impl Iterator<Item = String> {
        self.queues.iter().filter_map(|(interface, passed, dropped)| {
            let all = passed.saturating_add(*dropped);
            is_above(LOSS, *dropped, all).then(|| {
                format!(
                    "the queue before {interface} dropped {dropped} of {all} packets in the last \
                     minute: more is sent there than it carries; see tc -s qdisc show dev \
                     {interface}, and a larger forward.bundle_window sends fewer packets"
                )
            })
        })
    }
}

fn queue(interface: InterfaceCounts) -> Option<(String, u64, u64)> {
    let queue = interface.queue?;
    Some((interface.name, queue.packets, queue.drops))
}

impl Traffic {
    /// Takes on a queue that a later look has found: nobody knows since when it counts, so
    /// what it does counts from then.
    pub(super) fn learn(&mut self, later: &Self) {
        for queue in &later.queues {
            if self.queues.iter().all(|(known, ..)| *known != queue.0) {
                self.queues.push(queue.clone());
            }
        }
    }
}

/// What was added since an earlier look. All that a queue counts is new when it begins again.
impl Sub<&Self> for Traffic {
    type Output = Self;

    fn sub(self, before: &Self) -> Self {
        let queues = self.queues.into_iter().map(|(interface, passed, dropped)| {
            let known = before.queues.iter().find(|(name, ..)| *name == interface);
            let added = known.and_then(|(_, before_passed, before_dropped)| {
                Some((passed.checked_sub(*before_passed)?, dropped.checked_sub(*before_dropped)?))
            });
            let (passed, dropped) = added.unwrap_or((passed, dropped));
            (interface, passed, dropped)
        });
        Self {
            received: self.received.saturating_sub(before.received),
            unread: self.unread.saturating_sub(before.unread),
            sent: self.sent.saturating_sub(before.sent),
            refused: self.refused.saturating_sub(before.refused),
            dropped: self.dropped.saturating_sub(before.dropped),
            queues: queues.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFERS: Buffers = Buffers { receive: (10, 10), send: (10, 10) };

    fn queues(counts: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        counts.iter().map(|(name, passed, dropped)| (name.to_string(), *passed, *dropped)).collect()
    }

    #[test]
    fn each_place_where_packets_are_dropped_is_told_with_its_key() {
        let fine = Traffic { received: 990, sent: 990, ..Traffic::default() };
        let cases = [
            (fine.clone(), vec![]),
            (Traffic { refused: 10, unread: 10, dropped: 9, ..fine.clone() }, vec![]),
            (Traffic { refused: 11, ..fine.clone() }, vec!["did not take 11 of 1001"]),
            (Traffic { unread: 11, ..fine.clone() }, vec!["11 of 1001", "receive_buffer_bytes"]),
            (Traffic { dropped: 10, ..fine.clone() }, vec!["take 10 UDP", "tc -s qdisc"]),
            (Traffic { queues: queues(&[("eth0", 990, 10)]), ..fine.clone() }, vec![]),
            // Another program's, as the queue knows.
            (Traffic { dropped: 500, queues: queues(&[("eth0", 990, 0)]), ..fine.clone() }, vec![]),
            (
                Traffic { queues: queues(&[("lo", 9, 0), ("eth0", 989, 11)]), ..fine.clone() },
                vec!["eth0 dropped 11 of 1000", "forward.bundle_window"],
            ),
            (
                Traffic { refused: 11, unread: 11, ..fine },
                vec!["did not take 11 of 1001", "; 11 of 1001"],
            ),
        ];
        for (traffic, parts) in cases {
            match traffic.check(Some(BUFFERS)).problem {
                None => assert!(parts.is_empty(), "{traffic:?}"),
                Some((consequence, reason)) => {
                    assert_eq!(consequence, Consequence::Degraded);
                    assert!(
                        !parts.is_empty() && parts.iter().all(|part| reason.contains(part)),
                        "{reason}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_buffer_that_the_system_made_small_is_the_systems_to_raise() {
        let traffic = Traffic { unread: 5, ..Traffic::default() };
        let reason = |buffers| traffic.check(buffers).problem.unwrap().1;
        let small = Buffers { receive: (5, 10), ..BUFFERS };
        assert!(reason(Some(small)).contains("net.core.rmem_max"));
        assert!(reason(Some(BUFFERS)).contains("relay.receive_buffer_bytes"));
        assert!(reason(None).contains("relay.receive_buffer_bytes"));
    }

    #[test]
    fn a_queue_that_begins_anew_counts_from_then_and_a_new_one_from_now() {
        let at = |counts: &[_]| Traffic { queues: queues(counts), ..Traffic::default() };
        let mut before = at(&[("a", 10, 5), ("b", 10, 5), ("gone", 1, 1)]);
        let now = at(&[("a", 12, 8), ("b", 3, 1), ("new", 4, 2)]);
        before.learn(&now);
        assert_eq!(now - &before, at(&[("a", 2, 3), ("b", 3, 1), ("new", 0, 0)]));
    }
}
