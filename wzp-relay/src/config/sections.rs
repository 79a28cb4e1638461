//! The relay's own sections but `[limits]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wzp_telemetry::settings::{address, duration};

use super::range::Range;

/// A connection id tells the shard by its first byte.
pub const MAX_SHARDS: usize = wzp_common::steering::MAX_SHARDS as usize;

/// Whoever waits longer than a frame of voice lasts holds up the next one of the
/// same talker.
const MAX_BUNDLE_WINDOW: Duration = Duration::from_millis(20);

/// What is left of the admin socket's places is for commands.
const MAX_FOLLOWERS: usize = 24;

/// Each takes a file descriptor.
const CONNECTIONS: Range = Range::Number(1, 10_000);

/// From a few packets, which only a test wants, to a second of ten times what a core can
/// take.
const RECEIVE_BUFFER: Range = Range::Number(4096, 256 * 1024 * 1024);

const SEND_TIMEOUT: Range = Range::Time(Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// The bounds of what these sections and the shared ones set.
pub(super) const RANGES: [(&str, Range); 18] = [
    ("relay.shards", Range::Number(0, MAX_SHARDS as u64)),
    ("relay.receive_buffer_bytes", RECEIVE_BUFFER),
    ("relay.drain_timeout", Range::Time(Duration::ZERO, Duration::from_secs(24 * 3600))),
    ("metrics.keep_ended", Range::Time(Duration::ZERO, Duration::from_secs(24 * 3600))),
    ("metrics.max_connections", CONNECTIONS),
    ("metrics.max_connections_per_address", CONNECTIONS),
    ("metrics.password_tries_per_minute", Range::Number(1, 10_000)),
    ("metrics.send_timeout", SEND_TIMEOUT),
    ("health.max_connections", CONNECTIONS),
    ("health.max_connections_per_address", CONNECTIONS),
    ("health.send_timeout", SEND_TIMEOUT),
    ("logging.max_size", Range::Size(1024)),
    ("tracing.sample_rate", Range::Share),
    ("audit.auth_failures_per_minute", Range::Number(1, 1_000_000)),
    ("ebpf.slots", Range::Number(1, wzp_common::flow::MAX_CAPACITY as u64)),
    ("admin.followers", Range::Number(0, MAX_FOLLOWERS as u64)),
    ("admin.follower_events", Range::Number(16, 1_000_000)),
    ("forward.bundle_window", Range::Time(Duration::ZERO, MAX_BUNDLE_WINDOW)),
];

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySection {
    /// UDP address for everything that speaks the protocol; `[::]` takes IPv4 too.
    #[serde(with = "address")]
    #[schemars(schema_with = "address::schema")]
    pub listen: SocketAddr,
    /// Number of shards, each a thread with its own socket. 0: one per processor that
    /// the process may use, by its affinity and the quota of its control group.
    pub shards: usize,
    /// Bytes that the kernel may hold for each shard that is busy
    /// (`wzp_relay_udp_receive_drops_total`). More than `net.core.rmem_max` takes
    /// CAP_NET_ADMIN.
    pub receive_buffer_bytes: u32,
    /// PEM file with the certificate chain; with `key`, replaces the
    /// self-signed identity.
    #[schemars(example = "/etc/wzp-relay/cert.pem")]
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of `cert`.
    #[schemars(example = "/etc/wzp-relay/key.pem")]
    pub key: Option<PathBuf>,
    /// Where the self-signed identity, the admin socket and, without `audit.file`,
    /// the audit log are. The default is root's; under systemd it is what
    /// `StateDirectory=` gives, for others `~/.local/state/wzp-relay`.
    #[schemars(extend("default" = "/var/lib/wzp-relay"))]
    pub state_dir: PathBuf,
    /// How long sessions may go on after SIGTERM.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub drain_timeout: Duration,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Who may follow what happens at a time, by `wzp-relay ctl events`; further ones are
    /// refused (`wzp_relay_events_refused_total`). Each takes one of the admin
    /// socket's 32 places.
    pub followers: usize,
    /// Events that wait for one who follows and does not read, some 200 bytes each; what
    /// does not fit is left out, and it is told how many
    /// (`wzp_relay_events_lost_total`).
    pub follower_events: usize,
}

/// `[ebpf]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EbpfSection {
    /// Whether the kernel counts packets, and whether eBPF is used at all.
    pub mode: EbpfMode,
    /// The interfaces on which it does. None is chosen by itself.
    pub interfaces: Vec<String>,
    /// Sessions that can be counted at a time; further ones are unattributed
    /// (`wzp_ebpf_slots_full_total`). Each takes 0.3 KiB of the kernel's memory.
    pub slots: u32,
    /// Whether the programs tell the log about each packet; see it with
    /// `RUST_LOG=info,wzp=trace`. Costs more than the counting.
    pub trace: bool,
}

/// `[forward]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardSection {
    /// How long a frame may wait in the relay for others to the same receiver, to
    /// leave with them in one packet. It does not wait when the packet is full
    /// or nobody else talks. 0s: frames leave as soon as they can.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub bundle_window: Duration,
}

/// `ebpf.mode`
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum EbpfMode {
    /// No eBPF program: the shards count, and a classic filter steers.
    Off,
    /// The kernel counts if it can, else the shards. Likewise an eBPF program
    /// steers if it can, else the classic filter.
    #[default]
    Auto,
    /// The relay does not start if the kernel cannot count. Steering is as with
    /// `auto`: the filter chooses the same.
    Require,
}

impl RelaySection {
    /// Where `wzp-relay ctl` find the relay.
    pub fn admin_socket(&self) -> PathBuf {
        self.state_dir.join(crate::paths::ADMIN_SOCKET)
    }
}

impl Default for AdminSection {
    fn default() -> Self {
        // People and their tools; and a second of a thousand joins.
        Self { followers: 8, follower_events: 1024 }
    }
}

impl Default for EbpfSection {
    fn default() -> Self {
        Self { mode: EbpfMode::Auto, interfaces: Vec::new(), slots: 16_384, trace: false }
    }
}

impl Default for ForwardSection {
    fn default() -> Self {
        Self { bundle_window: Duration::from_millis(5) }
    }
}

impl Default for RelaySection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0u16; 8], wzp_proto::DEFAULT_PORT)),
            shards: 0,
            // 50 ms of what one core can forward at all.
            receive_buffer_bytes: 4 * 1024 * 1024,
            cert: None,
            key: None,
            state_dir: default_state_dir(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Where state is kept when nothing says otherwise: what systemd gives, the
/// system's place for root, the user's own place for anyone else. Empty if there is none.
fn default_state_dir() -> PathBuf {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = variable("STATE_DIRECTORY") {
        return given;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/wzp-relay");
    }
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|place| place.join("wzp-relay"))
        // No place that others can write to: the identity is a secret.
        .unwrap_or_default()
}
