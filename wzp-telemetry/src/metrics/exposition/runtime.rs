//! The async runtime that carries a program's control plane.
//!
//! From Tokio's own handle, which has running totals: the crate tokio-metrics
//! gives differences between two looks, which scrapers would take from each other.

use tokio::runtime::{Handle, RuntimeMetrics};

use super::family::{Family, Source, single};

/// The async runtime whose figures are shown.
pub(super) struct Runtime(Handle);

impl Runtime {
    /// The runtime behind `handle`.
    pub(super) fn new(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Source for Runtime {
    type Scrape<'a> = RuntimeMetrics;

    fn scrape(&self) -> RuntimeMetrics {
        self.0.metrics()
    }
}

pub(super) const FAMILIES: &[Family<Runtime>] = &[
    Family::<Runtime>::gauge(
        "wzp_runtime_workers",
        "Threads of the async runtime, which carries the control plane",
        |runtime| single(runtime.num_workers() as f64),
    )
    .from("tokio")
    .note("And never media"),
    Family::<Runtime>::gauge("wzp_runtime_tasks", "Tasks of the async runtime", |runtime| {
        single(runtime.num_alive_tasks() as f64)
    })
    .from("tokio"),
    Family::<Runtime>::gauge(
        "wzp_runtime_queued_tasks",
        "Tasks that wait in the async runtime's global queue",
        |runtime| single(runtime.global_queue_depth() as f64),
    )
    .from("tokio"),
    Family::<Runtime>::counter(
        "wzp_runtime_busy_seconds_total",
        "Time that the async runtime's threads spent on tasks",
        |runtime| {
            let workers = 0..runtime.num_workers();
            let busy = workers.map(|worker| runtime.worker_total_busy_duration(worker));
            single(busy.sum::<std::time::Duration>().as_secs_f64())
        },
    )
    .from("tokio"),
    Family::<Runtime>::counter(
        "wzp_runtime_parks_total",
        "Times that a thread of the async runtime had nothing to do",
        |runtime| {
            let workers = 0..runtime.num_workers();
            single(workers.map(|worker| runtime.worker_park_count(worker)).sum::<u64>() as f64)
        },
    )
    .from("tokio"),
];
