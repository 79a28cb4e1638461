//! Every metric family, declared once, and the numbers behind it.
//!
//! Nothing is looked up by label on the packet path: shards count in their own
//! [`stats::ShardStats`], rooms in [`rooms::RoomCounts`], and a scrape adds up.

pub mod count;
mod families;
pub mod reason;
pub mod rooms;
pub mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use prometheus::{Encoder, Registry, TextEncoder};

use crate::kernel::Accounts;
use crate::net::steering::Steering;
use crate::session::admission::Admission;
use families::Families;
pub use families::catalogue;
use rooms::RoomCounts;
use stats::ShardStats;

/// A count that something outside this crate keeps.
pub type ExternalCount = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where scrapes get their numbers from.
#[derive(Clone)]
pub struct Sources {
    /// One per shard.
    pub shards: Vec<Arc<ShardStats>>,
    /// Forwarding counts per room.
    pub rooms: Arc<RoomCounts>,
    /// What the kernel counts.
    pub accounts: Accounts,
    /// What steers packets to shards.
    pub steering: Steering,
    /// The books on connections and sessions.
    pub admission: Arc<Admission>,
    /// Whether the relay takes nobody in any more.
    pub draining: Arc<AtomicBool>,
    /// Most sessions that get series of their own.
    pub max_session_series: usize,
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
}

/// The one registry of the process.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry of all families, fed from `sources`.
    ///
    /// # Errors
    /// Two families have the same name.
    pub fn new(sources: Sources) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(Families::new(sources)?))?;
        Ok(Self { registry })
    }

    /// All families in the Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// A family could not be encoded.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
