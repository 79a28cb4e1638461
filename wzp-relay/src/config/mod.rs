//! One typed tree of settings: built-in defaults, then the file given with
//! `--config`, then the environment, then the command line. Unknown keys are
//! errors, so that a misspelt limit is never silently the default.
//!
//! The types are the only place where a key, its default and its meaning are
//! written: the reference, the example file and the schema are read off them.
//! A new section is a field of [`Config`] and a row in `change.rs`.

mod auth;
mod change;
mod check;
mod cli;
mod command;
mod document;
mod environment;
mod file;
mod files;
mod key;
mod limits;
mod load;
mod problem;
mod range;
mod sections;
mod setting;
mod system;
mod url;
mod values;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wzp_telemetry::settings::{Audit, Health, Logging, Metrics, Tracing};

pub use auth::{AuthMode, AuthSection, JwtAlgorithm, JwtSection, WebhookSection};
pub use change::{Applies, Change};
pub use cli::{AuditCommand, Cli, Command};
pub use command::ConfigCommand;
pub use limits::{Limits, MAX_FRAME_BYTES};
pub use load::{Loaded, StateDir};
pub use problem::{ConfigError, Origin, Problem};
pub use sections::{EbpfMode, EbpfSection, ForwardSection, MAX_SHARDS, RelaySection};
pub use url::Url;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Configuration of the WZP relay")]
pub struct Config {
    /// The relay itself.
    pub relay: RelaySection,
    /// Where metrics are served, and in which form.
    pub metrics: Metrics,
    /// A listener for health alone. The metrics listener answers `/health` and
    /// `/ready` too.
    pub health: Health,
    /// The log.
    pub logging: Logging,
    /// Traces of what takes more than one step: handshakes, joins, reloads.
    pub tracing: Tracing,
    /// The audit log.
    pub audit: Audit,
    /// Counting in the kernel.
    pub ebpf: EbpfSection,
    /// How frames are passed on.
    pub forward: ForwardSection,
    /// Who may join.
    pub auth: AuthSection,
    /// What a peer may do.
    pub limits: Limits,
}

impl Config {
    /// The settings of all layers. May be called again with the same command
    /// line, when the file has changed.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn load(cli: &Cli) -> Result<Self, ConfigError> {
        Loaded::new(cli).map(|loaded| loaded.config)
    }

    /// Whether each file is for one thing, for settings that come from two configurations.
    ///
    /// # Errors
    /// [`ConfigError::Problems`].
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let found = files::check(self, None).into_iter().map(|complaint| Problem {
            keys: complaint.keys.into_iter().map(|key| (key.to_owned(), Origin::InForce)).collect(),
            text: complaint.text,
        });
        let found: Vec<_> = found.collect();
        if found.is_empty() { Ok(()) } else { Err(ConfigError::Problems(found)) }
    }
}
