//! How the relay is, and that it is alive, for systemd.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;
use wzp_telemetry::log::target;
use wzp_telemetry::panics::supervised;

use super::control::Control;
use super::systemd::{notify_socket, tell};
use crate::words::counted;

/// How often the status line is told.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Tells the status line and, if the unit has `WatchdogSec=`, signs of life.
pub(super) async fn watch(control: Arc<Control>) {
    if notify_socket().is_none() {
        return;
    }
    let status = supervised(|| tell_status(&control));
    let alive = supervised(|| tell_alive(&control));
    tokio::join!(status, alive);
}

async fn tell_status(control: &Control) {
    let mut ticks = interval(STATUS_INTERVAL);
    loop {
        ticks.tick().await;
        let (sessions, rooms) = control.population();
        let mut text = format!("{} in {}", counted(sessions, "session"), counted(rooms, "room"));
        if control.is_draining() {
            text.push_str(", draining");
        }
        tell(&[NotifyState::Status(&text)]);
    }
}

/// This runs on the control plane's only thread, so that it proves that, too.
async fn tell_alive(control: &Control) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = interval(limit / 2);
    // After a stall, one sign of life for each missed would prove nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match control.sources.stuck_shard() {
            Some((shard, since)) => {
                warn!(target: target::RELAY, shard, ?since, "a shard hangs; systemd may restart the relay");
            }
            None => tell(&[NotifyState::Watchdog]),
        }
    }
}
