//! How one session fares, measured where it passes anyway and shown about once a
//! second. Frames cost it a few additions.

use std::time::{Duration, Instant};

use quinn_proto::ConnectionStats;

use super::downlink::Downlink;
use super::loss::LossWindow;
use super::reports::{Digest, Reports};
use crate::count::distributions::Distributions;
use crate::count::sessions::SessionHandle;
use crate::count::stats::ShardStats;

/// How often the numbers are shown while there is something to do.
const INTERVAL: Duration = Duration::from_secs(1);

/// The numbers of one session in a room.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) handle: SessionHandle,
    /// What comes from it.
    pub(crate) uplink: LossWindow,
    /// What is sent to it.
    pub(crate) downlink: Downlink,
    /// What it says of those it hears.
    pub(crate) reports: Reports,
    /// When the numbers are shown again.
    due: Instant,
    /// Reported since the numbers were last shown.
    jitter: Option<Duration>,
}

impl Vitals {
    pub(crate) fn new(handle: SessionHandle, now: Instant) -> Self {
        let (uplink, downlink, reports) =
            (LossWindow::new(now), Downlink::new(now), Reports::new(now));
        Self { handle, uplink, downlink, reports, due: now, jitter: None }
    }

    /// A frame of the session came.
    pub(crate) fn arrived(&mut self, now: Instant, sequence: u32) {
        self.uplink.arrived(now, sequence);
        self.handle.count.frames_received.add(1);
    }

    /// Takes what a report says of frames and of the session's jitter buffers.
    pub(crate) fn report(&mut self, now: Instant, digest: &Digest) {
        self.downlink.hear(now, digest.heard);
        let count = &self.handle.count;
        let Some(jitter) = digest.jitter else { return };
        self.jitter = Some(jitter);
        count.jitter_us.set(Some(jitter.as_micros() as u64));
        count.buffer_depth_ms.set(digest.depth.map(|depth| depth.as_millis() as u64));
        count.underruns.set(Some(count.underruns.get().unwrap_or(0) + digest.underruns));
        count.overruns.set(Some(count.overruns.get().unwrap_or(0) + digest.overruns));
    }

    /// Whether the numbers are to be shown again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// Shows what QUIC says of the path to the client, and adds what is new to
    /// its shard's.
    pub(crate) fn show_path(&self, path: &ConnectionStats, shard: &ShardStats) {
        let count = &self.handle.count;
        let (lost, events) = (path.path.lost_packets, path.path.congestion_events);
        shard.session_packets_lost.add(lost - count.packets_lost.get());
        shard.session_congestion_events.add(events - count.congestion_events.get());
        count.packets_lost.set(lost);
        count.congestion_events.set(events);
        // `path.sent_packets` is never written by quinn-proto 0.11.
        count.packets_sent.set(path.udp_tx.datagrams);
        count.congestion_window.set(Some(path.path.cwnd));
    }

    /// Shows the numbers as they are now. `rtt`: `None` while unknown.
    pub(crate) fn show(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        forwarded: u64,
        distributions: &Distributions,
    ) {
        let count = &self.handle.count;
        count.frames_forwarded.set(forwarded);
        if let Some(rtt) = rtt {
            count.rtt_us.set(Some(rtt.as_micros() as u64));
        }
        let (rx, tx) = (self.uplink.ppm(now), self.downlink.loss_ppm(now));
        count.loss_rx_ppm.set(rx);
        count.loss_tx_ppm.set(tx);
        if !self.is_due(now) {
            return;
        }
        self.due = now + INTERVAL;
        if let Some(rtt) = rtt {
            distributions.rtt.observe(rtt);
        }
        for (ppm, histogram) in [(rx, &distributions.loss_rx), (tx, &distributions.loss_tx)] {
            if let Some(ppm) = ppm {
                histogram.observe_ratio(ppm as f64 / 1e6);
            }
        }
        if let Some(jitter) = self.jitter.take() {
            distributions.jitter.observe(jitter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::downlink::Heard;
    use super::*;
    use crate::count::sessions::{Participant, SessionBook};
    use crate::ids::SessionId;

    fn vitals(book: &SessionBook, now: Instant) -> Vitals {
        let participant = Participant {
            id: SessionId(1),
            room: "a".into(),
            name: "anna".into(),
            peer: ([10, 0, 0, 1], 4433).into(),
            shard: 0,
            joined: Instant::now(),
            joined_at: SystemTime::UNIX_EPOCH,
        };
        Vitals::new(book.open(participant), now)
    }

    fn digest(ms: u64, underruns: u64) -> Digest {
        let duration = Some(Duration::from_millis(ms));
        Digest {
            jitter: duration,
            depth: duration,
            underruns,
            overruns: 2 * underruns,
            ..Digest::default()
        }
    }

    #[test]
    fn what_is_reported_of_buffers_is_added_up_and_shown() {
        let book = SessionBook::new(9, Duration::ZERO);
        let now = Instant::now();
        let mut vitals = vitals(&book, now);
        assert_eq!(book.list()[0].underruns, None);
        for (step, digest, underruns, ms) in [
            ("the first report", digest(40, 3), 3, 40),
            ("another one", digest(60, 1), 4, 60),
            ("one of which nothing was believed", Digest::default(), 4, 60),
            ("a quiet one", digest(0, 0), 4, 0),
        ] {
            vitals.report(now, &digest);
            let reading = &book.list()[0];
            assert_eq!(reading.underruns, Some(underruns), "{step}");
            assert_eq!(reading.overruns, Some(2 * underruns), "{step}");
            assert_eq!(reading.buffer_depth, Some(Duration::from_millis(ms)), "{step}");
            assert_eq!(reading.jitter, Some(Duration::from_millis(ms)), "{step}");
        }
    }

    #[test]
    fn distributions_get_one_observation_a_second() {
        let book = SessionBook::new(9, Duration::ZERO);
        let start = Instant::now();
        let mut vitals = vitals(&book, start);
        let rtt = Some(Duration::from_millis(80));
        for tenth in 0..30 {
            let now = start + Duration::from_millis(100) * tenth;
            vitals.arrived(now, tenth);
            vitals.report(now, &Digest { heard: Heard { sent: 5, received: 4 }, ..digest(3, 0) });
            vitals.show(now, rtt, 0, &book.distributions);
        }
        vitals.show(start + INTERVAL * 3, None, 0, &book.distributions);
        let observed = |reading: wzp_telemetry::metrics::HistogramReading| {
            reading.counts.last().copied().unwrap_or(0)
        };
        let Distributions { rtt: round_trips, loss_rx, loss_tx, jitter, .. } = &book.distributions;
        let counts =
            [round_trips, loss_rx, loss_tx, jitter].map(|histogram| observed(histogram.reading()));
        // Without a round trip there is none to observe, and the first frame is not
        // settled.
        assert_eq!(counts, [3, 3, 4, 4]);
        let reading = &book.list()[0];
        assert_eq!(reading.rtt, rtt, "the last one stays");
        assert_eq!((reading.loss_rx, reading.loss_tx), (Some(0.0), Some(0.2)));
    }
}
