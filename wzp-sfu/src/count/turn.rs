//! Whether a shard's thread gets on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a shard's thread is at. Its thread writes twice a turn: two plain
/// stores, and an idle shard, which waits for ever, does not look like one that
/// hangs.
#[derive(Debug, Default)]
pub struct Turn(AtomicU64);

/// A [`Turn`], read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnState {
    /// The thread has not come to its first turn.
    NotBegun,
    /// It waits for packets, mail or a timer.
    Waiting,
    /// It works since then, measured from the relay's start.
    Working(Duration),
}

const NOT_BEGUN: u64 = 0;
const WAITING: u64 = 1;
/// Added to the milliseconds of [`TurnState::Working`].
const WORKING: u64 = 2;

impl Turn {
    /// Begins to wait. Only the shard's thread may call it.
    pub fn wait(&self) {
        self.0.store(WAITING, Ordering::Relaxed);
    }

    /// Begins to work, so long after the relay's start. Only the shard's thread
    /// may call it.
    pub fn work(&self, since_start: Duration) {
        self.0.store(since_start.as_millis() as u64 + WORKING, Ordering::Relaxed);
    }

    /// What the thread is at.
    pub fn state(&self) -> TurnState {
        match self.0.load(Ordering::Relaxed) {
            NOT_BEGUN => TurnState::NotBegun,
            WAITING => TurnState::Waiting,
            working => TurnState::Working(Duration::from_millis(working - WORKING)),
        }
    }
}

/// After so long a turn's shard hangs, and all of its participants have heard
/// nothing for as long.
pub const STUCK: Duration = Duration::from_secs(10);

/// The first that hangs, and since when, so long after the relay's start.
pub fn stuck(
    uptime: Duration,
    turns: impl Iterator<Item = TurnState>,
) -> Option<(usize, Duration)> {
    turns.enumerate().find_map(|(index, turn)| match turn {
        TurnState::Working(since) => {
            let so_long = uptime.saturating_sub(since);
            (so_long >= STUCK).then_some((index, so_long))
        }
        TurnState::NotBegun | TurnState::Waiting => None,
    })
}
