//! What the operating system says about the process. Every program has these.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use procfs::process::{LimitValue, Process as Proc};

use super::family::{Family, Series, Source, single};

/// The share of a core is told over at least so long: the kernel's clock for
/// it ticks every 10 ms.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// The process that asks.
pub(super) struct Process {
    cpu: Mutex<CpuShare>,
}

/// What `/proc/self` said. A number is absent when its file could not be read.
pub(super) struct Reading {
    cpu_seconds: Option<f64>,
    cpu_percent: f64,
    threads: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    started: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

impl Process {
    /// The share of a core is first told over the time since now.
    pub(super) fn new() -> Self {
        let seconds =
            Proc::myself().and_then(|process| process.stat()).map(|stat| cpu_seconds(&stat));
        let cpu = CpuShare { since: Instant::now(), seconds: seconds.unwrap_or(0.0), percent: 0.0 };
        Self { cpu: Mutex::new(cpu) }
    }
}

impl Source for Process {
    type Scrape<'a> = Reading;

    fn scrape(&self) -> Reading {
        let process = Proc::myself().ok();
        let stat = process.as_ref().and_then(|process| process.stat().ok());
        let limits = process.as_ref().and_then(|process| process.limits().ok());
        let cpu_seconds = stat.as_ref().map(cpu_seconds);
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seconds) = cpu_seconds {
            cpu.update(Instant::now(), seconds);
        }
        let ticks = procfs::ticks_per_second() as f64;
        Reading {
            cpu_seconds,
            cpu_percent: cpu.percent,
            threads: stat.as_ref().map(|stat| stat.num_threads as f64),
            resident_bytes: stat.as_ref().map(|stat| stat.rss as f64 * procfs::page_size() as f64),
            virtual_bytes: stat.as_ref().map(|stat| stat.vsize as f64),
            started: stat.as_ref().and_then(|stat| {
                let boot = procfs::boot_time_secs().ok()?;
                Some(boot as f64 + stat.starttime as f64 / ticks)
            }),
            open_fds: process.and_then(|process| process.fd_count().ok()).map(|count| count as f64),
            max_fds: limits.and_then(|limits| match limits.max_open_files.soft_limit {
                LimitValue::Value(most) => Some(most as f64),
                LimitValue::Unlimited => None,
            }),
        }
    }
}

fn cpu_seconds(stat: &procfs::process::Stat) -> f64 {
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

/// Processor time over wall time, between two looks.
struct CpuShare {
    since: Instant,
    /// Processor time used until then.
    seconds: f64,
    percent: f64,
}

impl CpuShare {
    /// Looks anew if the last look is long enough ago. Several who scrape see
    /// the same value then, and none makes the interval of another too short.
    fn update(&mut self, now: Instant, seconds: f64) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= LEAST_INTERVAL {
            let percent = (seconds - self.seconds) / elapsed.as_secs_f64() * 100.0;
            *self = Self { since: now, seconds, percent };
        }
    }
}

fn known(value: Option<f64>) -> Vec<Series> {
    value.map(single).unwrap_or_default()
}

pub(super) const FAMILIES: &[Family<Process>] = &[
    Family::<Process>::gauge(
        "wraith_cpu_usage_percent",
        "Processor time used since the last look at least a second ago; 100 is one core",
        |process| single(process.cpu_percent),
    ),
    Family::<Process>::gauge("wraith_memory_usage_bytes", "Resident memory", |process| {
        known(process.resident_bytes)
    }),
    Family::<Process>::gauge("wraith_open_fds", "Open file descriptors", |process| {
        known(process.open_fds)
    }),
    Family::<Process>::counter(
        "process_cpu_seconds_total",
        "Processor time used, in user mode and in the kernel",
        |process| known(process.cpu_seconds),
    ),
    Family::<Process>::gauge("process_open_fds", "Open file descriptors", |process| {
        known(process.open_fds)
    }),
    Family::<Process>::gauge(
        "process_max_fds",
        "Most file descriptors that may be open; absent without a limit",
        |process| known(process.max_fds),
    ),
    Family::<Process>::gauge("process_virtual_memory_bytes", "Address space in use", |process| {
        known(process.virtual_bytes)
    }),
    Family::<Process>::gauge("process_resident_memory_bytes", "Resident memory", |process| {
        known(process.resident_bytes)
    }),
    Family::<Process>::gauge(
        "process_start_time_seconds",
        "When the process started, since 1970",
        |process| known(process.started),
    ),
    Family::<Process>::gauge("process_threads", "Threads of the process", |process| {
        known(process.threads)
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_a_core_is_told_over_a_second_at_least() {
        let start = Instant::now();
        let mut cpu = CpuShare { since: start, seconds: 5.0, percent: 0.0 };
        let cases = [(0.4, 5.4, 0.0), (1.0, 5.5, 50.0), (1.9, 7.5, 50.0), (3.0, 9.5, 200.0)];
        for (at, seconds, percent) in cases {
            cpu.update(start + Duration::from_secs_f64(at), seconds);
            assert!((cpu.percent - percent).abs() < 1e-6, "{at} s: {} not {percent}", cpu.percent);
        }
    }

    #[test]
    fn own_process_is_there() {
        let reading = Process::new().scrape();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(reading.open_fds.unwrap() >= 3.0);
        assert!(reading.resident_bytes.unwrap() > 1e6);
        assert!(reading.virtual_bytes >= reading.resident_bytes);
        assert!(reading.threads.unwrap() >= 1.0);
        let started = reading.started.unwrap();
        assert!((now - 86_400.0..now + 60.0).contains(&started), "{started}, now {now}");
    }
}
