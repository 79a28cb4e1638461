//! Every metric family, declared once, and the numbers behind it.
//!
//! Nothing is looked up by label on the packet path: shards count in their own
//! [`stats::ShardStats`], rooms in [`rooms::RoomCounts`], sessions in
//! [`sessions::SessionBook`], and a scrape adds up.

pub mod count;
pub mod distributions;
mod families;
pub mod reason;
pub mod rooms;
pub mod sessions;
pub mod stats;
pub mod turn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::kernel::Accounts;
use crate::net::drops::ReceiveDrops;
use crate::net::steering::Steering;
use crate::session::admission::Admission;
pub use families::{catalogue, registry};
use rooms::RoomCounts;
use sessions::SessionBook;
use stats::ShardStats;
use turn::TurnState;

/// A count that something outside this crate keeps.
pub type ExternalCount = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where scrapes get their numbers from.
#[derive(Clone)]
pub struct Sources {
    /// One per shard.
    pub shards: Vec<Arc<ShardStats>>,
    /// Forwarding counts per room.
    pub rooms: Arc<RoomCounts>,
    /// What is known of each session.
    pub sessions: Arc<SessionBook>,
    /// What the kernel counts.
    pub accounts: Accounts,
    /// What steers packets to shards.
    pub steering: Steering,
    /// The books on connections and sessions.
    pub admission: Arc<Admission>,
    /// Whether the relay takes nobody in any more.
    pub draining: Arc<AtomicBool>,
    /// What the kernel dropped before the shards had it.
    pub receive_drops: ReceiveDrops,
    /// Log lines that could not be written in time.
    pub log_lines_dropped: ExternalCount,
    /// When the relay started.
    pub started: Instant,
}

impl Sources {
    /// Whether new sessions are taken in.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// Whether a shard has not come to its first turn.
    pub fn is_starting(&self) -> bool {
        self.shards.iter().any(|shard| shard.turn.state() == TurnState::NotBegun)
    }
}
