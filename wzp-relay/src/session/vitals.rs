//! How one session fares, measured where it passes anyway and shown about once a
//! second. Frames cost it a few additions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use quinn_proto::ConnectionStats;
use wzp_proto::control::{MAX_REPORT_SOURCES, SourceReport, sender_id};

use super::loss::LossWindow;
use crate::metrics::distributions::Distributions;
use crate::metrics::sessions::SessionHandle;
use crate::metrics::stats::ShardStats;

/// How often the numbers are shown while there is something to do.
const INTERVAL: Duration = Duration::from_secs(1);

/// Talkers whose counts are remembered after they are gone from the reports, so
/// that one that comes back is not counted twice.
const MAX_REMEMBERED: usize = 4 * MAX_REPORT_SOURCES;

/// The numbers of one session in a room.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) handle: SessionHandle,
    loss: LossWindow,
    /// When the numbers are shown again.
    due: Instant,
    /// What it last reported of each talker: underruns and overruns.
    buffers: HashMap<u16, (u32, u32)>,
    /// Reported since the numbers were last shown.
    jitter: Option<Duration>,
}

impl Vitals {
    pub(crate) fn new(handle: SessionHandle, now: Instant) -> Self {
        let (loss, buffers) = (LossWindow::new(now), HashMap::new());
        Self { handle, loss, due: now, buffers, jitter: None }
    }

    /// A frame of the session came.
    pub(crate) fn arrived(&mut self, now: Instant, sequence: u32) {
        self.loss.arrived(now, sequence);
        self.handle.count.frames_received.add(1);
    }

    /// Takes what the session says of its jitter buffers.
    pub(crate) fn report(&mut self, sources: &[SourceReport]) {
        let count = &self.handle.count;
        let most = |of: fn(&SourceReport) -> u32| sources.iter().map(of).max().map(u64::from);
        let jitter = most(|source| source.jitter_us);
        count.jitter_us.set(jitter);
        count.buffer_depth_ms.set(most(|source| source.buffer_depth_ms));
        self.jitter = jitter.map(Duration::from_micros);

        let (mut underruns, mut overruns) =
            (count.underruns.get().unwrap_or(0), count.overruns.get().unwrap_or(0));
        for source in sources {
            let Some(talker) = sender_id(source.sender_id) else { continue };
            let now = (source.underruns, source.overruns);
            let before = self.buffers.insert(talker, now).unwrap_or_default();
            // A client that counts anew reports smaller totals: its own beginning.
            let since = |earlier: u32, later: u32| later.checked_sub(earlier).unwrap_or(later);
            underruns += u64::from(since(before.0, now.0));
            overruns += u64::from(since(before.1, now.1));
        }
        count.underruns.set(Some(underruns));
        count.overruns.set(Some(overruns));
        if self.buffers.len() > MAX_REMEMBERED {
            let reported = |talker| sources.iter().any(|source| source.sender_id == talker);
            self.buffers.retain(|talker, _| reported(u32::from(*talker)));
        }
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
        let loss = self.loss.ppm(now);
        count.loss_ppm.set(loss);
        if !self.is_due(now) {
            return;
        }
        self.due = now + INTERVAL;
        if let Some(rtt) = rtt {
            distributions.rtt.observe(rtt);
        }
        if let Some(ppm) = loss {
            distributions.loss.observe_ratio(ppm as f64 / 1e6);
        }
        if let Some(jitter) = self.jitter.take() {
            distributions.jitter.observe(jitter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::metrics::sessions::{Participant, SessionBook};
    use crate::room::SessionId;

    fn vitals(book: &SessionBook, now: Instant) -> Vitals {
        let participant = Participant {
            id: SessionId(1),
            room: "a".into(),
            name: "anna".into(),
            peer: ([10, 0, 0, 1], 4433).into(),
            shard: 0,
            joined_at: SystemTime::UNIX_EPOCH,
        };
        Vitals::new(book.open(participant), now)
    }

    fn source(sender_id: u32, underruns: u32, buffer_depth_ms: u32) -> SourceReport {
        SourceReport {
            sender_id,
            underruns,
            overruns: 2 * underruns,
            buffer_depth_ms,
            jitter_us: 1000 * buffer_depth_ms,
            ..SourceReport::default()
        }
    }

    #[test]
    fn counts_of_buffers_never_go_back_whatever_is_reported() {
        let book = SessionBook::new(9);
        let mut vitals = vitals(&book, Instant::now());
        assert_eq!(book.list()[0].underruns, None);
        let steps: [(&str, &[SourceReport], u64, u64); 6] = [
            ("two talkers", &[source(1, 3, 40), source(2, 1, 60)], 4, 60),
            ("one more of each", &[source(1, 4, 40), source(2, 2, 20)], 6, 40),
            ("one left", &[source(1, 4, 40)], 6, 40),
            ("it came back", &[source(1, 4, 40), source(2, 3, 80)], 7, 80),
            ("the client counts anew", &[source(1, 1, 45)], 8, 45),
            ("a talker is named twice", &[source(1, 1, 45), source(1, 1, 44)], 8, 45),
        ];
        for (step, sources, underruns, depth) in steps {
            vitals.report(sources);
            let reading = &book.list()[0];
            assert_eq!(reading.underruns, Some(underruns), "{step}");
            assert_eq!(reading.overruns, Some(2 * underruns), "{step}");
            assert_eq!(reading.buffer_depth, Some(Duration::from_millis(depth)), "{step}");
            assert_eq!(reading.jitter, Some(Duration::from_millis(depth)), "{step}");
        }
    }

    #[test]
    fn talkers_that_are_made_up_are_forgotten() {
        let book = SessionBook::new(9);
        let mut vitals = vitals(&book, Instant::now());
        for report in 0..100 {
            let first = 1 + report * MAX_REPORT_SOURCES as u32;
            let sources: Vec<_> =
                (first..first + MAX_REPORT_SOURCES as u32).map(|id| source(id, 1, 0)).collect();
            vitals.report(&sources);
            assert!(vitals.buffers.len() <= MAX_REMEMBERED);
        }
    }

    #[test]
    fn distributions_get_one_observation_a_second() {
        let book = SessionBook::new(9);
        let start = Instant::now();
        let mut vitals = vitals(&book, start);
        let rtt = Some(Duration::from_millis(80));
        for tenth in 0..30 {
            let now = start + Duration::from_millis(100) * tenth;
            vitals.arrived(now, tenth);
            vitals.report(&[source(1, 0, 3)]);
            vitals.show(now, rtt, 0, &book.distributions);
        }
        vitals.show(start + INTERVAL * 3, None, 0, &book.distributions);
        let observed = |reading: wzp_telemetry::metrics::HistogramReading| {
            reading.counts.last().copied().unwrap_or(0)
        };
        let Distributions { rtt: round_trips, loss, jitter, .. } = &book.distributions;
        let counts = [round_trips, loss, jitter].map(|histogram| observed(histogram.reading()));
        assert_eq!(counts, [3, 4, 4], "without a round trip there is none to observe");
        assert_eq!(book.list()[0].rtt, rtt, "the last one stays");
    }
}
