//! What the world counts of its relay, and rules that hold at any time.

use std::hash::Hasher;
use std::net::SocketAddr;

use wzp_sfu::admission::Population;
use wzp_sfu::count::reason::{
    DropReason, EndReason, HandshakeFailure, PerReason, Reason, ReportRefusal, SessionState,
};
use wzp_sfu::count::stats::ShardStats;
use wzp_sfu::shard::Shard;

use super::World;

impl World {
    /// Every connection is in one state, and in that which it is admitted for.
    pub fn assert_states_agree(&self) {
        use SessionState::{
            Authenticating, AwaitingHello, Closing, Established, Handshaking, Joining,
        };
        let count = |states: &[SessionState]| -> u64 {
            let of = |state: &SessionState| self.sum_reasons(|stats| &stats.states, *state);
            states.iter().map(of).sum()
        };
        let sessions = count(&[Joining, Established]) as u32;
        let handshakes = count(&[Handshaking, AwaitingHello, Authenticating]) as u32;
        let closing = count(&[Closing]) as u32;
        let population = self.population();
        assert_eq!(closing, population.closing);
        // Who makes way counts for nothing, until its shard hears of it.
        let counted = population.sessions + population.handshakes;
        assert_eq!(sessions + handshakes, counted + population.making_way);
        assert!(sessions >= population.sessions && handshakes >= population.handshakes);
        let there: usize = self.shards.iter().map(Shard::connections).sum();
        assert_eq!(count(SessionState::ALL), there as u64);
    }

    /// Fails if what is told of a session became less.
    pub fn assert_counts_grow(&mut self) {
        for reading in self.shared.sessions.list() {
            let buffers = [reading.underruns, reading.overruns].map(|count| count.unwrap_or(0));
            let counts =
                [reading.frames_received, reading.frames_forwarded, buffers[0], buffers[1]];
            let before = self.counts.insert(reading.participant.id, counts).unwrap_or_default();
            let grows = before.iter().zip(&counts).all(|(before, now)| before <= now);
            assert!(grows, "{before:?}, then {counts:?}: {reading:?}");
        }
    }

    /// Whether packets from that address would be counted for a session.
    pub fn knows_flow_from(&self, address: SocketAddr) -> bool {
        self.flows.values().any(|remote| *remote == address)
    }

    /// Digest of all that happened.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Who there is, by the books.
    pub fn population(&self) -> Population {
        self.shared.admission.population()
    }

    /// A number of all shards together.
    pub fn sum(&self, of: impl Fn(&ShardStats) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(shard.stats())).sum()
    }

    fn sum_reasons<R: Reason>(&self, of: impl Fn(&ShardStats) -> &PerReason<R>, reason: R) -> u64 {
        self.sum(|stats| of(stats)[reason].get())
    }

    /// Reports that were ignored for that reason.
    pub fn refused_reports(&self, reason: ReportRefusal) -> u64 {
        self.sum_reasons(|stats| &stats.reports_refused, reason)
    }

    /// Media that was dropped for that reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.sum_reasons(|stats| &stats.packets_dropped, reason)
    }

    /// Connections that ended for that reason.
    pub fn closed(&self, reason: EndReason) -> u64 {
        self.sum_reasons(|stats| &stats.connections_closed, reason)
    }

    /// After everyone has left nothing may remain, and the books must balance.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.population(), Population::default());
        assert_eq!(self.sum(|stats| stats.rooms.get()), 0, "rooms");
        assert!(self.flows.is_empty(), "flows: {:?}", self.flows);
        assert_eq!(self.shards.iter().map(Shard::connections).sum::<usize>(), 0);
        let closed: u64 = EndReason::ALL.iter().map(|reason| self.closed(*reason)).sum();
        let accepted = self.sum(|stats| stats.connections_accepted.get());
        assert_eq!(accepted, closed);
        self.assert_states_agree();
        let distributions = &self.shared.sessions.distributions;
        let [handshakes, connections] = [&distributions.handshake, &distributions.connection]
            .map(|histogram| histogram.reading().counts.last().copied().unwrap());
        let failed = HandshakeFailure::ALL
            .iter()
            .map(|reason| self.sum_reasons(|stats| &stats.handshake_failures, *reason));
        assert_eq!(handshakes + failed.sum::<u64>(), accepted, "handshakes");
        assert_eq!(connections, closed, "durations");
        assert_eq!(self.shared.sessions.list(), [], "sessions");
    }
}
