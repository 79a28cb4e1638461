//! What the operating system says about the process. Every program has these.

use std::time::Instant;

use procfs::process::{LimitValue, Process as Proc};

use super::family::{Family, Series, Source, single};
use crate::cpu::{self, Usage};
use crate::lock::Mutex;

/// The process that asks.
pub(super) struct Process {
    cpu: Mutex<Usage>,
}

/// What `/proc/self` said. A number is absent when its file could not be read.
pub(super) struct Reading {
    cpu_seconds: Option<f64>,
    cpu_percent: Option<f64>,
    threads: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    started: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

impl Process {
    /// The share of the processors is first told over the time since now.
    pub(super) fn new() -> Self {
        let stat = Proc::myself().and_then(|process| process.stat());
        let seconds = stat.map_or(0.0, |stat| cpu::seconds(&stat));
        Self { cpu: Mutex::new(Usage::new(Instant::now(), seconds)) }
    }
}

impl Source for Process {
    type Scrape<'a> = Reading;

    fn scrape(&self) -> Reading {
        let process = Proc::myself().ok();
        let stat = process.as_ref().and_then(|process| process.stat().ok());
        let limits = process.as_ref().and_then(|process| process.limits().ok());
        let cpu_seconds = stat.as_ref().map(cpu::seconds);
        let mut cpu = self.cpu.lock();
        let cpu_percent =
            cpu_seconds.and_then(|seconds| cpu.update(Instant::now(), seconds, cpu::allowed()));
        let ticks = procfs::ticks_per_second() as f64;
        Reading {
            cpu_seconds,
            cpu_percent,
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

fn known(value: Option<f64>) -> Vec<Series> {
    value.map(single).unwrap_or_default()
}

pub(super) const FAMILIES: &[Family<Process>] = &[
    Family::<Process>::gauge(
        "wraith_cpu_usage_percent",
        "Processor time used since the last look at least a second ago, in per cent of what affinity and control groups let the process use",
        |process| known(process.cpu_percent),
    ).from("`/proc/self`").note("Absent in the first second. 100 is all that the process may use: the processors that it is bound to, or the least quota of its control groups (either version)"),
    Family::<Process>::gauge("wraith_memory_usage_bytes", "Resident memory", |process| {
        known(process.resident_bytes)
    }).from("`/proc/self`"),
    Family::<Process>::gauge("wraith_open_fds", "Open file descriptors", |process| {
        known(process.open_fds)
    }).from("`/proc/self`"),
    Family::<Process>::counter(
        "process_cpu_seconds_total",
        "Processor time used, in user mode and in the kernel",
        |process| known(process.cpu_seconds),
    ).from("`/proc/self`").note("To hundredths"),
    Family::<Process>::gauge("process_open_fds", "Open file descriptors", |process| {
        known(process.open_fds)
    }).from("`/proc/self`"),
    Family::<Process>::gauge(
        "process_max_fds",
        "Most file descriptors that may be open; absent without a limit",
        |process| known(process.max_fds),
    ).from("`/proc/self`"),
    Family::<Process>::gauge("process_virtual_memory_bytes", "Address space in use", |process| {
        known(process.virtual_bytes)
    }).from("`/proc/self`"),
    Family::<Process>::gauge("process_resident_memory_bytes", "Resident memory", |process| {
        known(process.resident_bytes)
    }).from("`/proc/self`"),
    Family::<Process>::gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        |process| known(process.started),
    ).from("`/proc/self`"),
    Family::<Process>::gauge("process_threads", "Threads of the process", |process| {
        known(process.threads)
    }).from("`/proc/self`"),
];

#[cfg(test)]
mod tests {
    use super::*;

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
