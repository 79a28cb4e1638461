//! The configuration sections that all programs share, with the keys, values
//! and defaults of the monitoring guide. What each program adds of its own is
//! said at the key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod address;
mod text;

pub use text::{duration, size, url};

/// Who watches a program are a few, with one or two connections each.
const MAX_CONNECTIONS: usize = 64;
const MAX_CONNECTIONS_PER_ADDRESS: usize = 16;

/// Prometheus scrapes once a minute unless told otherwise, and takes what is older than
/// five for gone.
const KEEP_ENDED: Duration = Duration::from_secs(120);

/// 10 MB, which 10,000 sessions come to, at 3 Mbit/s.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where metrics are served, and in which form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether there is a listener for metrics, `/health` and `/ready`.
    pub enabled: bool,
    /// TCP address of the listener.
    #[serde(with = "address")]
    #[schemars(schema_with = "address::schema")]
    pub listen_addr: SocketAddr,
    /// Path of the metrics.
    pub path: String,
    /// The form in which metrics are served to who asks for none.
    pub format: MetricsFormat,
    /// File with TLS and basic authentication for the listener, in the form of
    /// Prometheus' exporter toolkit (web.config.yml).
    #[schemars(example = "/etc/wzp-relay/web.yml")]
    pub web_config: Option<PathBuf>,
    /// Most rooms that get series of their own; the others share `_overflow`.
    pub max_room_series: usize,
    /// Most sessions that get series of their own: the oldest. 0: none.
    pub max_session_series: usize,
    /// How long the last values of rooms and sessions that have ended are shown, from
    /// the first scrape that finds them on: two of the longest usual intervals, so that
    /// all who scrape find them. Above the two limits they make way for living ones
    /// (`wzp_relay_last_values_cut_short_total`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub keep_ended: Duration,
    /// How rooms are named in labels.
    pub room_label: RoomLabel,
    /// Most connections to the listener. Another one takes the place of one of the
    /// network that has the most (`wzp_http_aborted_connections_total{reason="crowded"}`).
    pub max_connections: usize,
    /// Most of them from one IPv4 address or one IPv6 /64. Another one from there takes
    /// the place of its oldest (`wzp_http_aborted_connections_total{reason="share"}`).
    pub max_connections_per_address: usize,
    /// Passwords that one IPv4 address or one IPv6 /64 may try in a minute, and at once;
    /// those known to be right do not count. Further ones get 429
    /// (`wzp_http_refused_requests_total{reason="tries"}`).
    pub password_tries_per_minute: u32,
    /// How long a client may take to read an answer
    /// (`wzp_http_aborted_connections_total{reason="unread"}`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub send_timeout: Duration,
}

/// `metrics.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricsFormat {
    /// Prometheus text 0.0.4, or OpenMetrics for who accepts it.
    #[default]
    Prometheus,
    /// JSON.
    Json,
}

/// `metrics.room_label`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomLabel {
    /// By their names, as clients chose them.
    #[default]
    Name,
    /// By a hash of the name, the same for as long as the program runs.
    Hash,
    /// Not at all: all rooms share one series.
    Off,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_addr: SocketAddr::from(([127, 0, 0, 1], 9090)),
            path: "/metrics".into(),
            format: MetricsFormat::Prometheus,
            web_config: None,
            max_room_series: 1000,
            max_session_series: 1000,
            keep_ended: KEEP_ENDED,
            room_label: RoomLabel::Name,
            max_connections: MAX_CONNECTIONS,
            max_connections_per_address: MAX_CONNECTIONS_PER_ADDRESS,
            password_tries_per_minute: 10,
            send_timeout: SEND_TIMEOUT,
        }
    }
}

/// A listener for health alone. The metrics listener answers `/health` and
/// `/ready` too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Whether there is one.
    pub enabled: bool,
    /// TCP address of the listener.
    #[serde(with = "address")]
    #[schemars(schema_with = "address::schema")]
    pub listen_addr: SocketAddr,
    /// Path of the health report; `/ready` stays as it is.
    pub path: String,
    /// As `metrics.max_connections`, and besides these.
    pub max_connections: usize,
    /// As `metrics.max_connections_per_address`.
    pub max_connections_per_address: usize,
    /// As `metrics.send_timeout`.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub send_timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            enabled: false,
            listen_addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            path: "/health".into(),
            max_connections: MAX_CONNECTIONS,
            max_connections_per_address: MAX_CONNECTIONS_PER_ADDRESS,
            send_timeout: SEND_TIMEOUT,
        }
    }
}

/// The log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// What is not worth logging: everything below this.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
    /// Where lines go; without it to standard error. The other keys are about
    /// this file.
    #[schemars(example = "/var/log/wzp-relay/relay.log")]
    pub file: Option<PathBuf>,
    /// A file that would grow beyond this is put aside for a new one. 0: never.
    #[serde(with = "size")]
    #[schemars(schema_with = "size::schema")]
    pub max_size: ByteSize,
    /// Files put aside are deleted when they are so old. 0: never.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub max_age: Duration,
    /// Most files put aside; the oldest are deleted. 0: any number.
    pub max_backups: u32,
    /// Whether files put aside are compressed (gzip).
    pub compress: bool,
}

/// `logging.level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Very detailed.
    Trace,
    /// Each decision.
    Debug,
    /// What an operator may want to know later.
    #[default]
    Info,
    /// What may need an operator.
    Warn,
    /// What does.
    Error,
}

/// `logging.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line, for Logstash and its like.
    Json,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: LogFormat::Plain,
            file: None,
            max_size: ByteSize::mb(100),
            max_age: Duration::from_secs(30 * 24 * 3600),
            max_backups: 10,
            compress: true,
        }
    }
}

/// Traces of what takes more than one step: handshakes, joins, reloads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// Whether traces are sent.
    pub enabled: bool,
    /// In which protocol.
    pub exporter: Exporter,
    /// Host and port of the receiver, or a URL with `http://` or, for TLS, `https://`.
    pub endpoint: String,
    /// PEM file of the authorities that an `https://` endpoint is trusted under; without
    /// it the system's.
    #[schemars(example = "/etc/wzp-relay/collector-ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// Share of traces that are sent, 0 to 1. One that another program has
    /// begun follows that program's choice.
    pub sample_rate: f64,
}

/// `tracing.exporter`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exporter {
    /// OpenTelemetry's own over gRPC, which Jaeger and all collectors take.
    #[default]
    Otlp,
    /// The same: Jaeger has no other protocol any more.
    Jaeger,
    /// Zipkin's JSON, version 2, over HTTP: port 9411 as a rule.
    Zipkin,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            enabled: false,
            exporter: Exporter::Otlp,
            endpoint: "localhost:4317".into(),
            ca_file: None,
            sample_rate: 0.1,
        }
    }
}

/// An example of [`Audit::events`].
const EVENTS: [&str; 3] = ["config_change", "admin_action", "lifecycle"];

/// The audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it is; without it `audit.log` in the state directory.
    #[schemars(example = "/var/log/wzp-relay/audit.log")]
    pub file: Option<PathBuf>,
    /// The events that are written; without it all.
    #[schemars(example = EVENTS)]
    pub events: Option<Vec<AuditEvent>>,
    /// Most records of `auth_failure` a minute, and at once: strangers can cause
    /// them. How many were left out, the log tells once a minute
    /// (`wzp_relay_audit_records_lost_total{reason="limit"}`).
    pub auth_failures_per_minute: u32,
}

impl Default for Audit {
    fn default() -> Self {
        // 30 MB a day, and 100 with the longest room names.
        Self { enabled: false, file: None, events: None, auth_failures_per_minute: 60 }
    }
}

/// What an audit log tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    /// A certificate or a key for tokens was replaced.
    KeyRotation,
    /// The configuration was changed while the program ran.
    ConfigChange,
    /// A file transfer began. Nothing does yet.
    TransferStart,
    /// A file transfer ended. Nothing does yet.
    TransferComplete,
    /// A participant joined a room.
    SessionStart,
    /// A participant's session ended.
    SessionEnd,
    /// Somebody could not say who they are.
    AuthFailure,
    /// An operator gave a command.
    AdminAction,
    /// The program started or ended.
    Lifecycle,
}
