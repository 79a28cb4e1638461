//! Every metric family, declared once, and the numbers behind it.
//!
//! Nothing is looked up by label on the packet path: shards count in their own
//! [`ShardStats`], rooms in [`RoomCounts`], sessions in [`SessionBook`], and a scrape adds up.

mod families;
pub mod reloads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use wzp_telemetry::audit::Audit;
use wzp_telemetry::log::LogCounts;
use wzp_telemetry::panics::Panics;
use wzp_telemetry::trace::TraceCounts;

use crate::accounts::Accounts;
use crate::auth::stats::AuthStats;
use crate::events::Followers;
use crate::net::drops::ReceiveDrops;
use crate::net::socket::Buffers;
pub use families::{catalogue, registry};
use reloads::Reloads;
use wzp_kernel::queues::QueueWatch;
use wzp_kernel::steering::Steering;
use wzp_sfu::admission::Admission;
use wzp_sfu::count::rooms::RoomCounts;
use wzp_sfu::count::sessions::SessionBook;
use wzp_sfu::count::stats::ShardStats;
use wzp_sfu::count::turn::TurnState;

/// Reads counts that something outside this crate keeps.
pub type Reader<T> = Arc<dyn Fn() -> T + Send + Sync>;

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
    /// What is counted about tokens.
    pub auth: Arc<AuthStats>,
    /// Whether the relay takes nobody in any more.
    pub draining: Arc<AtomicBool>,
    /// When the certificate in use expires, in seconds since 1970.
    pub certificate_expires: Arc<AtomicI64>,
    /// What the kernel dropped before the shards had it.
    pub receive_drops: ReceiveDrops,
    /// What the sockets may hold; `None`: the system does not tell.
    pub buffers: Option<Buffers>,
    /// What became of packets behind the sockets.
    pub interfaces: QueueWatch,
    /// What became of log lines.
    pub log: Reader<LogCounts>,
    /// The audit log.
    pub audit: Audit,
    /// What became of spans.
    pub traces: Reader<TraceCounts>,
    /// How often the configuration was reloaded.
    pub reloads: Arc<Reloads>,
    /// Who follows what happens.
    pub followers: Arc<Followers>,
    /// What of the process failed.
    pub panics: Arc<Panics>,
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

    /// Whether all shards fail again and again, so that nobody has a call that a
    /// restart would end.
    pub fn all_shards_fail(&self) -> bool {
        let uptime = self.started.elapsed().as_millis();
        self.shards.iter().all(|shard| u128::from(shard.failing_until_ms.get()) > uptime)
    }

    /// The first shard whose thread has worked on one turn for ten seconds, and how
    /// long it has. A turn takes milliseconds: it hangs, and only a restart helps.
    pub fn stuck_shard(&self) -> Option<(usize, Duration)> {
        let turns = self.shards.iter().map(|shard| shard.turn.state());
        wzp_sfu::count::turn::stuck(self.started.elapsed(), turns)
    }
}
