//! One typed tree of settings: built-in defaults, then the file given with
//! `--config`, then the command line. Unknown keys are errors, so that a
//! misspelt limit is never silently the default.

mod cli;
mod limits;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

pub use cli::{AuditCommand, Cli, Command};
pub use limits::{Limits, MAX_FRAME_BYTES};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The relay itself.
    pub relay: RelaySection,
    /// The metrics listener.
    pub metrics: MetricsSection,
    /// Counting in the kernel.
    pub ebpf: EbpfSection,
    /// How frames are passed on.
    pub forward: ForwardSection,
    /// What a peer may do.
    pub limits: Limits,
}

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySection {
    /// UDP address for everything that speaks the protocol.
    pub listen: SocketAddr,
    /// Number of shards, each a thread with its own socket. 0: one per core.
    pub shards: usize,
    /// PEM file with the certificate chain; with `key`, replaces the
    /// self-signed identity.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of `cert`.
    pub key: Option<PathBuf>,
    /// Where the self-signed identity is kept.
    pub state_dir: PathBuf,
    /// How long sessions may go on after SIGTERM.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSection {
    /// TCP address of `/metrics`, `/health` and `/ready`.
    pub listen_addr: SocketAddr,
    /// Most rooms that get series of their own; the others share `_overflow`.
    pub max_room_series: usize,
    /// Most sessions that get series of their own: the oldest. 0: none.
    pub max_session_series: usize,
}

/// `[ebpf]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EbpfSection {
    /// Whether the kernel counts packets, and whether eBPF is used at all.
    pub mode: EbpfMode,
    /// The interfaces on which it does. None is chosen by itself.
    pub interfaces: Vec<String>,
    /// Sessions that can be counted at a time; further ones are unattributed
    /// (`wzp_ebpf_slots_full_total`). Each takes 0.3 KiB of the kernel's memory.
    pub slots: u32,
    /// Whether the programs tell the log about each packet. Costs more than the
    /// counting.
    pub trace: bool,
}

/// `[forward]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardSection {
    /// How long a frame may wait in the relay for others to the same receiver, to
    /// leave with them in one packet. It does not wait when the packet is full
    /// or nobody else talks. 0: frames leave as soon as they can.
    #[serde(with = "duration")]
    pub bundle_window: Duration,
}

/// `ebpf.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EbpfMode {
    /// No eBPF program: the shards count, and a classic filter steers.
    Off,
    /// The kernel counts if it can, else the shards. Likewise an eBPF program
    /// steers if it can, else the classic filter.
    #[default]
    Auto,
    /// The relay does not start if the kernel cannot count. Steering is as with
    /// `Auto`: the filter chooses the same.
    Require,
}

impl RelaySection {
    /// Where `wzp-relay flows` and its like find the relay.
    pub fn admin_socket(&self) -> PathBuf {
        self.state_dir.join(crate::admin::socket::FILE)
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
            cert: None,
            key: None,
            state_dir: default_state_dir(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self {
            listen_addr: SocketAddr::from(([127, 0, 0, 1], 9090)),
            max_room_series: 1000,
            max_session_series: 1000,
        }
    }
}

/// Why the settings are not usable. The text says what, where and what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("in {}: {error}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and what is allowed, as the parser puts it.
        error: toml::de::Error,
    },
    /// A value is out of its bounds, or two contradict each other.
    #[error("{key}: {problem}")]
    Value {
        /// The key with its section.
        key: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl Config {
    /// Settings from the file that the command line names, if it does, with
    /// the command line's own on top.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn load(cli: &Cli) -> Result<Self, ConfigError> {
        let mut config = match &cli.config {
            Some(path) => Self::from_file(path)?,
            None => Self::default(),
        };
        cli.apply(&mut config);
        config.check()?;
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse { path: path.into(), error })
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.relay.cert.is_some() != self.relay.key.is_some() {
            return Err(ConfigError::Value {
                key: "relay.cert and relay.key",
                problem: "a certificate needs its key and a key its certificate; give both".into(),
            });
        }
        if self.relay.state_dir.as_os_str().is_empty() {
            return Err(ConfigError::Value {
                key: "relay.state_dir",
                problem: "there is no HOME to keep state in; choose a directory".into(),
            });
        }
        if self.relay.shards > MAX_SHARDS {
            return Err(ConfigError::Value {
                key: "relay.shards",
                problem: format!("{} is more than {MAX_SHARDS}", self.relay.shards),
            });
        }
        if !(1..=wzp_common::flow::MAX_CAPACITY).contains(&self.ebpf.slots) {
            return Err(ConfigError::Value {
                key: "ebpf.slots",
                problem: format!(
                    "{} is not between 1 and {}",
                    self.ebpf.slots,
                    wzp_common::flow::MAX_CAPACITY
                ),
            });
        }
        if self.forward.bundle_window > MAX_BUNDLE_WINDOW {
            return Err(ConfigError::Value {
                key: "forward.bundle_window",
                problem: format!(
                    "{:?} is more than {MAX_BUNDLE_WINDOW:?}, the length of a frame of voice",
                    self.forward.bundle_window
                ),
            });
        }
        if self.ebpf.mode == EbpfMode::Require && self.ebpf.interfaces.is_empty() {
            return Err(ConfigError::Value {
                key: "ebpf.mode",
                problem: "\"require\" needs at least one interface; name it with --interface"
                    .into(),
            });
        }
        self.limits.check()
    }
}

/// Whoever waits longer holds up the next frame of the same talker.
const MAX_BUNDLE_WINDOW: Duration = Duration::from_millis(20);

/// A connection id tells the shard by its first byte.
pub const MAX_SHARDS: usize = wzp_common::steering::MAX_SHARDS as usize;

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

/// Durations as people write them: "5s", "500ms", "2m 30s".
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("{error}; write a duration such as \"5s\" or \"500ms\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::from_file(&path).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn keys_are_read_and_the_rest_is_default() {
        let config = parse("[limits]\nroom_members = 7\nhello_timeout = '250ms'\n").unwrap();
        assert_eq!(config.limits.room_members, 7);
        assert_eq!(config.limits.hello_timeout, Duration::from_millis(250));
        assert_eq!(config.limits.sessions, Limits::default().sessions);
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases: [(&str, &[&str]); 7] = [
            ("[limits]\nroom_member = 7\n", &["line 2", "room_member", "room_members"]),
            ("[limit]\n", &["line 1", "limit", "limits"]),
            ("[limits]\nsessions = 'many'\n", &["line 2", "sessions"]),
            ("[limits]\nidle_timeout = 5\n", &["line 2", "idle_timeout"]),
            ("[limits]\nidle_timeout = 'soon'\n", &["line 2", "500ms"]),
            ("[limits]\nframe_bytes = 9000\n", &["limits.frame_bytes", "9000"]),
            ("[relay]\ncert = 'a.pem'\n", &["relay.cert", "give both"]),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            for part in expected {
                assert!(error.contains(part), "{text:?} gave {error:?}, which lacks {part:?}");
            }
        }
    }
}
