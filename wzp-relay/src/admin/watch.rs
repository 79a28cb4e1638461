//! What is looked at once a second, and what followers are told of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use wzp_telemetry::health::Report;

use super::control::Control;
use super::recent::totals;
use crate::metrics::Sources;
use wzp_sfu::count::reason::{DropReason, PerReason, Reason, RefuseReason};
use wzp_sfu::count::stats::ShardStats;

/// How often that is.
const TICK: Duration = Duration::from_secs(1);

/// Looks once a second, for ever.
pub async fn watch(control: Arc<Control>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        ticks.tick().await;
        control.recent.note(Instant::now(), totals(&control.sources));
        control.followers.look_after();
        if !control.followers.is_any() {
            told = None;
            continue;
        }
        let health = control.health.clone();
        // To look at disks may take a while.
        let report = tokio::task::spawn_blocking(move || health.report()).await;
        let Ok(report) = report else { continue };
        let now = Told {
            dropped: counts(&control.sources, |shard| &shard.packets_dropped),
            refused: counts(&control.sources, |shard| &shard.connections_refused),
            health: report.status().name(),
            reasons: reasons(&report),
        };
        if let Some(before) = told.replace(now.clone()) {
            now.tell(&before, &control);
        }
    }
}

/// What followers were told of.
#[derive(Clone, Debug)]
struct Told {
    dropped: Vec<u64>,
    refused: Vec<u64>,
    health: &'static str,
    reasons: Vec<String>,
}

impl Told {
    /// Tells what is different.
    fn tell(&self, before: &Self, control: &Control) {
        let followers = &control.followers;
        for (number, reason) in DropReason::ALL.iter().enumerate() {
            let packets = self.dropped[number].saturating_sub(before.dropped[number]);
            if packets > 0 {
                let details = || json!({ "reason": reason.name(), "packets": packets });
                followers.tell("dropped", details);
            }
        }
        for (number, reason) in RefuseReason::ALL.iter().enumerate() {
            let connections = self.refused[number].saturating_sub(before.refused[number]);
            if connections > 0 {
                let details = || json!({ "reason": reason.name(), "connections": connections });
                followers.tell("connections_refused", details);
            }
        }
        if self.health != before.health {
            let details = || json!({ "status": self.health, "reasons": self.reasons });
            followers.tell("health", details);
        }
    }
}

/// What is wrong, a sentence each.
fn reasons(report: &Report) -> Vec<String> {
    let problems = report.checks.iter().filter_map(|check| check.problem.as_ref());
    problems.map(|(_, reason)| reason.clone()).collect()
}

fn counts<R: Reason>(sources: &Sources, of: fn(&ShardStats) -> &PerReason<R>) -> Vec<u64> {
    let sum = |reason: &R| sources.shards.iter().map(|shard| of(shard)[*reason].get()).sum();
    R::ALL.iter().map(sum).collect()
}
