//! What the relay tells systemd (sd_notify(3)): that it is ready, reloads, stops,
//! how it is, and that it is alive. Without `NOTIFY_SOCKET` it tells nothing.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;
use wzp_telemetry::panics::supervised;

use super::control::Control;

/// How often the status line is told.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// For the end of the threads, after the last session's.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// The relay serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    // Without the time systemd takes it for a failure.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The relay stops, which takes as long as it drains: a `relay.drain_timeout`
/// above the unit's `TimeoutStopSec=` is kept, too.
pub fn stopping(drain: Duration) {
    // The library's own state ends after 71 minutes.
    let extend = format!("EXTEND_TIMEOUT_USEC={}", (drain + STOP_MARGIN).as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&extend)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot tell systemd");
    }
}

/// Tells the status line and, if the unit has `WatchdogSec=`, signs of life.
pub async fn watch(control: Arc<Control>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
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
        let status = control.status();
        let mut text = format!("{} sessions in {} rooms", status.sessions, status.rooms);
        if status.drain.is_some() {
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
                warn!(shard, ?since, "a shard hangs; systemd may restart the relay");
            }
            None => tell(&[NotifyState::Watchdog]),
        }
    }
}
