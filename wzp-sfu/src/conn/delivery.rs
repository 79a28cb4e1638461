//! Whether media gets to one receiver, by what it acknowledges: the only word
//! about a path that reaches the relay from beyond its own kernel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::Connection;
use wzp_transport::congestion::Acknowledged;
use wzp_transport::parameters::PACKETS_PER_ACK;

/// Whether what is sent to somebody is known to get there, by what has been
/// acknowledged: the better it is, the earlier in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Prompt,
    /// Acknowledgements are overdue, or there have been none yet.
    Late,
    /// They are overdue for so long that no call can go on.
    Stalled,
}

impl Standing {
    /// All there are, the best first.
    pub const ALL: [Self; 3] = [Self::Prompt, Self::Late, Self::Stalled];
}

/// An acknowledgement that takes so much longer than the path's shortest round
/// trip is overdue. A receiver of voice answers within 25 ms (its
/// `max_ack_delay`) of a frame, and they come every 20.
const OVERDUE: Duration = Duration::from_millis(100);

/// And with this the path is no longer one for a call, unless the receiver may
/// still be collecting: quinn's clients do in the beginning until they have
/// [`PACKETS_PER_ACK`], because acknowledging the handshake stops their timer.
const STALLED: Duration = Duration::from_secs(1);

/// What is on its way to one receiver.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// `None` if the connection's congestion control does not tell: then all is
    /// taken to arrive.
    acknowledged: Option<Arc<Acknowledged>>,
    /// Whose acknowledgements those are.
    remote: SocketAddr,
    media: Media,
}

/// Media, as far as it has not been acknowledged.
#[derive(Debug, Default)]
struct Media {
    owed: Option<Owed>,
    /// Whether some has been acknowledged before.
    is_answered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Owed {
    /// When the first of it was sent, at the earliest.
    first: Instant,
    last: Instant,
    /// Packets since somewhat before the first.
    packets: u32,
}

impl Delivery {
    pub(crate) fn new(connection: &Connection) -> Self {
        let (acknowledged, remote) = (Acknowledged::of(connection), connection.remote_address());
        Self { acknowledged, remote, media: Media::default() }
    }

    /// A packet with media was written. Others may be such as are never
    /// acknowledged.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.media.sent(now);
    }

    /// How it stands with the receiver.
    pub(crate) fn standing(&mut self, now: Instant, connection: &Connection) -> Standing {
        if connection.is_handshaking() {
            return Standing::Late;
        }
        let remote = connection.remote_address();
        if remote != self.remote {
            *self = Self { media: std::mem::take(&mut self.media), ..Self::new(connection) };
        }
        let Some(acknowledged) = &self.acknowledged else { return Standing::Prompt };
        self.media.standing(now, acknowledged.newest(), connection.min_rtt())
    }
}

impl Media {
    fn sent(&mut self, now: Instant) {
        let owed = self.owed.get_or_insert(Owed { first: now, last: now, packets: 0 });
        owed.last = now;
        owed.packets = owed.packets.saturating_add(1);
    }

    /// With the packets acknowledged that were sent until then.
    fn standing(&mut self, now: Instant, acknowledged: Instant, round_trip: Duration) -> Standing {
        let Some(owed) = &mut self.owed else { return Standing::Prompt };
        if acknowledged >= owed.first {
            self.is_answered = true;
            if acknowledged >= owed.last {
                self.owed = None;
                return Standing::Prompt;
            }
            // The next one was sent later than this.
            owed.first = acknowledged;
        }
        let may_collect = !self.is_answered && owed.packets <= PACKETS_PER_ACK;
        match now.saturating_duration_since(owed.first + round_trip) {
            late if late >= STALLED && !may_collect => Standing::Stalled,
            late if late >= OVERDUE || !self.is_answered => Standing::Late,
            _ => Standing::Prompt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Late, Prompt, Stalled};

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// A receiver to whom a packet is sent every 20 ms from 0 to `until`, and what
    /// is thought of it at `now`, of which that much was acknowledged at `seen`.
    struct Case {
        until: u64,
        seen: (u64, Option<u64>),
        now: u64,
        expected: Standing,
    }

    #[test]
    fn what_is_overdue_is_what_may_not_have_arrived() {
        let case = |until, seen, now, expected| Case { until, seen, now, expected };
        let cases = [
            // Nothing is owed yet, or no more.
            case(0, (0, Some(0)), 10_000, Prompt),
            case(1_000, (1_040, Some(1_000)), 10_000, Prompt),
            // Acknowledged but for the last, and for how long.
            case(1_000, (1_040, Some(980)), 1_100, Prompt),
            case(1_000, (1_040, Some(980)), 1_129, Prompt),
            case(1_000, (1_040, Some(980)), 1_130, Late),
            case(2_020, (1_040, Some(980)), 2_029, Late),
            case(2_020, (1_040, Some(980)), 2_030, Stalled),
            // Old ones arrive still, but late.
            case(10_000, (10_000, Some(9_500)), 10_000, Late),
            case(10_000, (10_000, Some(8_500)), 10_000, Stalled),
            // Who has never acknowledged is late, and stalled only after 64 packets.
            case(40, (40, None), 40, Late),
            case(1_240, (1_240, None), 5_000, Late),
            case(1_280, (1_280, None), 1_300, Stalled),
        ];
        let start = Instant::now();
        let at = |ms| start + Duration::from_secs(1) + Duration::from_millis(ms);
        for (number, Case { until, seen: (seen, acknowledged), now, expected }) in
            cases.into_iter().enumerate()
        {
            let mut media = Media::default();
            for sent in (0..=until).step_by(20) {
                media.sent(at(sent));
                // The relay looks each time that it sends.
                if seen <= sent {
                    let acknowledged = acknowledged.map_or(start, at);
                    media.standing(at(sent), acknowledged, ROUND_TRIP);
                }
            }
            let acknowledged = acknowledged.map_or(start, at);
            let found = media.standing(at(now), acknowledged, ROUND_TRIP);
            assert_eq!(found, expected, "case {number}");
        }
    }

    #[test]
    fn silence_is_not_owed_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut media = Media::default();
        media.sent(at(20));
        assert_eq!(media.standing(at(70), at(20), ROUND_TRIP), Prompt);
        // Ten seconds later somebody talks again.
        media.sent(at(10_000));
        assert_eq!(media.standing(at(10_149), at(20), ROUND_TRIP), Prompt);
        assert_eq!(media.standing(at(10_150), at(20), ROUND_TRIP), Late);
    }
}
