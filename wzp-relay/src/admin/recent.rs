//! How fast things went in the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use wzp_telemetry::cpu;
use wzp_telemetry::lock::{Mutex, MutexGuard};

use super::lists::Traffic;
use crate::metrics::Sources;
use crate::words::{percent, thousandths};

/// Rates are those of so many seconds.
const SECONDS: usize = 10;

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    udp_packets_received: u64,
    udp_bytes_received: u64,
    udp_packets_sent: u64,
    udp_bytes_sent: u64,
    media_packets_forwarded: u64,
    media_packets_dropped: u64,
    /// Processor time that the process has used.
    cpu: Duration,
}

/// The totals of the last seconds.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<(Instant, Totals)>>);

impl Recent {
    pub(super) fn note(&self, now: Instant, totals: Totals) {
        let mut recent = self.recent();
        recent.push_back((now, totals));
        if recent.len() > SECONDS + 1 {
            recent.pop_front();
        }
    }

    /// How fast things went in the last seconds. `None` in the first second.
    pub fn traffic(&self) -> Option<Traffic> {
        let recent = self.recent();
        let ((since, before), (until, now)) = (recent.front()?, recent.back()?);
        let time = until.saturating_duration_since(*since).as_secs_f64();
        if time == 0.0 {
            return None;
        }
        let rate =
            |of: fn(&Totals) -> u64| thousandths(of(now).saturating_sub(of(before)) as f64 / time);
        let dropped = rate(|totals| totals.media_packets_dropped);
        let forwarded = rate(|totals| totals.media_packets_forwarded);
        let all = forwarded + dropped;
        let cpu = now.cpu.saturating_sub(before.cpu).as_secs_f64() / time;
        Some(Traffic {
            seconds: thousandths(time),
            received_packets_per_second: rate(|totals| totals.udp_packets_received),
            received_bits_per_second: 8.0 * rate(|totals| totals.udp_bytes_received),
            sent_packets_per_second: rate(|totals| totals.udp_packets_sent),
            sent_bits_per_second: 8.0 * rate(|totals| totals.udp_bytes_sent),
            forwarded_per_second: forwarded,
            dropped_per_second: dropped,
            dropped_pct: percent(if all > 0.0 { dropped / all } else { 0.0 }),
            cpu_pct: percent((cpu / cpu::allowed()).min(1.0)),
        })
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(Instant, Totals)>> {
        // Samples are whole, so a panic elsewhere is no harm.
        self.0.lock()
    }
}

/// As of now.
pub(super) fn totals(sources: &Sources) -> Totals {
    // By libc: rustix ends a process that is looked at with valgrind.
    let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    let mut totals = Totals { cpu: cpu.unwrap_or_default(), ..Totals::default() };
    for shard in &sources.shards {
        totals.udp_packets_received += shard.udp_packets_received.get();
        totals.udp_bytes_received += shard.udp_bytes_received.get();
        totals.udp_packets_sent += shard.udp_packets_sent.get();
        totals.udp_bytes_sent += shard.udp_bytes_sent.get();
        totals.media_packets_forwarded += shard.media_packets_forwarded.get();
        totals.media_packets_dropped +=
            shard.packets_dropped.iter().map(|(_, count)| count).sum::<u64>();
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let recent = Recent::default();
        assert_eq!(recent.traffic(), None);
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 0..=60 {
            let totals = Totals {
                udp_packets_received: second * 50,
                udp_bytes_sent: second * second,
                media_packets_forwarded: second * 30,
                media_packets_dropped: second * 10,
                cpu: Duration::from_millis(500 * second),
                ..Totals::default()
            };
            recent.note(at(second), totals);
            assert_eq!(recent.traffic().is_some(), second > 0);
        }
        let traffic = recent.traffic().unwrap();
        assert_eq!((traffic.seconds, traffic.received_packets_per_second), (10.0, 50.0));
        // 3600 bytes after a minute, 2500 ten seconds before.
        assert_eq!(traffic.sent_bits_per_second, 880.0);
        assert_eq!((traffic.dropped_per_second, traffic.dropped_pct), (10.0, 25.0));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(traffic.cpu_pct, percent(0.5 / processors as f64));
    }
}
