//! Whether a relay receives what a client sends, by what it acknowledges. QUIC by itself
//! ends a connection on which nothing comes in. Where something stops one direction
//! alone, the relay's packets keep a session alive that the relay has long forgotten, or
//! will in a moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{Connection, ConnectionStats};

use crate::congestion::Acknowledged;
use crate::parameters::IDLE_TIMEOUT;

/// What was sent may be on its way, or its acknowledgement, for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection's relay has not acknowledged.
#[derive(Debug)]
pub struct Delivery {
    connection: Connection,
    acknowledged: Option<Arc<Acknowledged>>,
    owed: Owed,
}

impl Delivery {
    /// Of a client's connection, from now on.
    pub fn of(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            acknowledged: Acknowledged::of_client(connection.congestion_state()),
            owed: Owed::new(Instant::now()),
        }
    }

    /// How it stands. To be asked once a second or so: what was sent counts from the time
    /// of the last question.
    pub fn look(&mut self) -> Unacknowledged {
        let Some(acknowledged) = &self.acknowledged else { return Unacknowledged::default() };
        let sent = eliciting(&self.connection.stats());
        self.owed.look(Instant::now(), sent, acknowledged.newest())
    }
}

/// Frames of the kinds that a client sends all the time and that a peer has to
/// acknowledge: media, control messages, keep-alives and probes.
fn eliciting(stats: &ConnectionStats) -> u64 {
    let frames = &stats.frame_tx;
    frames.datagram.saturating_add(frames.stream).saturating_add(frames.ping)
}

/// How long nothing has been acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Since the first was sent that has not been; zero if all was acknowledged.
    pub waits: Duration,
    /// Since the newest was sent that has been.
    silent: Duration,
}

impl Unacknowledged {
    /// Whether the session is lost: as far as is known the relay has received nothing for
    /// so long that it has forgotten the client.
    pub fn is_lost(&self) -> bool {
        self.waits >= PATIENCE && self.silent >= IDLE_TIMEOUT
    }
}

/// What has been sent and not acknowledged, as far as looks from time to time can tell.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// Frames that were sent.
    sent: u64,
    looked: Instant,
    /// When the last of them was sent, at the earliest.
    last: Instant,
    /// The same of the first that is not acknowledged.
    since: Option<Instant>,
}

impl Owed {
    const fn new(now: Instant) -> Self {
        Self { sent: 0, looked: now, last: now, since: None }
    }

    /// So many frames have been sent by now; what was sent by `newest` is acknowledged.
    fn look(&mut self, now: Instant, sent: u64, newest: Instant) -> Unacknowledged {
        if sent != self.sent {
            (self.sent, self.last) = (sent, self.looked);
        }
        self.looked = now;
        // Of what was sent between two looks one is as good as all: who goes on sending
        // is found out at the next.
        self.since = (newest < self.last).then(|| self.since.unwrap_or(self.last).max(newest));
        Unacknowledged {
            waits: self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            silent: now.saturating_duration_since(newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second: frames sent by then, the newest acknowledged in ms, for how
    /// many ms something waits, and whether that is a session lost.
    fn check(name: &str, looks: impl IntoIterator<Item = (u64, u64, u64, bool)>) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut owed = Owed::new(start);
        for (second, (sent, newest, waits, is_lost)) in (1..).zip(looks) {
            let told = owed.look(at(second * 1_000), sent, at(newest));
            let expected = (Duration::from_millis(waits), is_lost);
            assert_eq!((told.waits, told.is_lost()), expected, "{name}: second {second}");
        }
    }

    #[test]
    fn a_talker_is_lost_when_nothing_was_acknowledged_for_the_idle_time_out() {
        let prompt = |second: u64| (50 * second, second * 1_000 - 40, 0, false);
        check("prompt", (1..100).map(prompt));
        let late = |second: u64| {
            let newest = (second * 1_000).saturating_sub(4_000);
            (50 * second, newest, 1_000 * (second - 1).min(4), false)
        };
        check("four seconds of round trip", (1..100).map(late));
        // Packets get lost from 2,960 ms on.
        let cut = (1..60_u64).map(|second| match second {
            0..4 => prompt(second),
            _ => (50 * second, 2_960, 1_000 * (second - 3), second >= 23),
        });
        check("cut", cut);
        let back = (1..60_u64).map(|second| match second {
            0..4 => prompt(second),
            4..19 => (50 * second, 2_960, 1_000 * (second - 3), false),
            _ => prompt(second),
        });
        check("back in time", back);
    }

    /// A Pong every ten seconds.
    #[test]
    fn a_listener_is_lost_by_its_pongs() {
        let idle = |second: u64| (second / 10, second / 10 * 10_000, 0, false);
        check("all is well", (1..100).map(idle));
        let cut = (1..60_u64).map(|second| match second {
            0..30 => idle(second),
            // That of the 30th second is known to be unacknowledged one second later, and
            // to have been sent after the look at the 29th.
            _ => {
                let waits = (second - 29) * 1_000;
                (second.min(40) / 10, 20_000, waits, second >= 40)
            }
        });
        check("cut", cut);
        // Nothing was sent for long, and then there is a first.
        let waking = (1..60_u64).map(|second| match second {
            0..50 => (0, 0, 0, false),
            50 => (1, 0, 1_000, false),
            _ => (1, 49_500, 0, false),
        });
        check("an answer after a long silence", waking);
    }
}
