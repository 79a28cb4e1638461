//! When the relay was last heard of. One that is gone says nothing, and QUIC waits 20
//! seconds before it says so: for a call that is long.

use std::time::Duration;

use quinn::Connection;
use tokio::time::Instant;

/// Between two looks at most so much counts as silence: whoever did not look, because
/// the machine did not let it, cannot know that nothing came.
const OBSERVED: Duration = Duration::from_millis(100);

/// What has come over a connection, by looks at it every few milliseconds.
#[derive(Debug)]
pub(crate) struct Pulse {
    connection: Connection,
    silence: Silence,
}

impl Pulse {
    /// Of a connection over which something has just come.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self { connection: connection.clone(), silence: Silence::new(Instant::now()) }
    }

    /// How long nothing has come.
    pub(crate) fn look(&mut self) -> Duration {
        let packets = self.connection.stats().udp_rx.datagrams;
        self.silence.look(Instant::now(), packets)
    }
}

/// How long nothing has come, as far as was looked.
#[derive(Clone, Copy, Debug)]
struct Silence {
    packets: u64,
    looked: Instant,
    lasts: Duration,
}

impl Silence {
    const fn new(now: Instant) -> Self {
        Self { packets: 0, looked: now, lasts: Duration::ZERO }
    }

    /// So many packets have come by now.
    fn look(&mut self, now: Instant, packets: u64) -> Duration {
        let passed = now.saturating_duration_since(self.looked).min(OBSERVED);
        self.lasts = match packets == self.packets {
            true => self.lasts.saturating_add(passed),
            false => Duration::ZERO,
        };
        (self.packets, self.looked) = (packets, now);
        self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_what_was_looked_at_since_the_last_packet() {
        let begun = Instant::now();
        let mut silence = Silence::new(begun);
        let cases = [
            ("nothing yet", 20, 0, 20),
            ("a packet", 40, 1, 0),
            ("none since", 60, 1, 20),
            ("nor then", 140, 1, 100),
            ("the machine stood still for an hour", 3_600_140, 1, 200),
            ("two more", 3_600_160, 3, 0),
        ];
        for (name, at, packets, lasts) in cases {
            let told = silence.look(begun + Duration::from_millis(at), packets);
            assert_eq!(told, Duration::from_millis(lasts), "{name}");
        }
    }
}
