//! One attack beside those who must not notice it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use wzp_testbed::process::resident_bytes;

use crate::attack::{Attack, Sent};
use crate::honest::{Attempts, Calls, Heard, monitor, newcomers};
use crate::scene::Scene;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the attack did, in its own words.
    pub sent: Sent,
    /// How the calls were.
    pub heard: Heard,
    /// Those who joined meanwhile.
    pub newcomers: Attempts,
    /// Who asked for the relay's health.
    pub monitor: Attempts,
    /// The relay's memory in bytes: before, and the most there was.
    pub memory: (u64, u64),
}

impl Outcome {
    /// Frames of the honest calls that were not heard.
    pub fn lost(&self) -> u64 {
        self.heard.frames_expected.saturating_sub(self.heard.frames_received)
    }

    /// Whether anybody else lost a frame, could not join, or was not answered.
    pub fn has_harmed(&self) -> bool {
        let failed = |attempts: Attempts| attempts.succeeded < attempts.made;
        self.lost() > 0 || failed(self.newcomers) || failed(self.monitor)
    }
}

/// Attacks a new relay for that long.
///
/// # Errors
/// The scene cannot be set, or the relay ended.
pub fn run(attack: &Attack, time: Duration) -> Result<Outcome> {
    let scene = Scene::new()?;
    let prepared = (attack.prepare)(&scene)?;
    let (mut relay, target) = scene.start(&prepared.config)?;
    // Whoever is there has been counted.
    let calls = Calls::start(scene.callers(), &target, time)?;
    let before = relay.resident_bytes()?;
    let end = Instant::now() + time;
    let (attack_is_over, process) = (AtomicBool::new(false), relay.id());
    let (sent, newcomers, monitor, most) = thread::scope(|scope| {
        let attacking = scope.spawn(|| {
            let runtime = runtime()?;
            let sent =
                scene.strangers().namespace.run(|| runtime.block_on((attack.run)(target, end)));
            runtime.shutdown_background();
            sent
        });
        let joining = scope.spawn(|| {
            let runtime = runtime()?;
            Ok::<_, anyhow::Error>(
                scene.callers().namespace.run(|| runtime.block_on(newcomers(target, end))),
            )
        });
        let asking = scope.spawn(|| scene.callers().namespace.run(|| monitor(&target, end)));
        let watching = scope.spawn(|| most_memory(process, &attack_is_over));
        let sent = attacking.join().expect("the attack does not panic");
        let newcomers = joining.join().expect("joining does not panic");
        let monitor = asking.join().expect("asking does not panic");
        attack_is_over.store(true, Ordering::Relaxed);
        let most = watching.join().expect("watching does not panic");
        Ok::<_, anyhow::Error>((sent?, newcomers?, monitor, most.max(before)))
    })?;
    let heard = calls.finish(time)?;
    anyhow::ensure!(relay.is_running()?, "the relay ended:\n{}", relay.log());
    relay.stop().context("the relay does not end well after the attack")?;
    drop(prepared);
    Ok(Outcome { sent, heard, newcomers, monitor, memory: (before, most) })
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn most_memory(relay: u32, over: &AtomicBool) -> u64 {
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        most = most.max(resident_bytes(relay).unwrap_or(0));
        thread::sleep(Duration::from_millis(100));
    }
    most
}
