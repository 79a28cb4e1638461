//! One typed tree of settings: built-in defaults, then the file given with
//! `--config`, then the environment, then the command line. Unknown keys are
//! errors, so that a misspelt limit is never silently the default.
//!
//! The types are the only place where a key, its default and its meaning are
//! written: the reference, the example file and the schema are read off them.
//! A new section is a field of [`Config`] and a row in `change.rs`.

mod auth;
mod bounds;
mod change;
pub(crate) mod check;
pub(crate) mod document;
mod environment;
mod exposure;
mod file;
mod files;
mod flags;
pub(crate) mod key;
mod limits;
mod load;
mod problem;
mod range;
mod sections;
pub(crate) mod setting;
mod url;
mod values;
mod wanted;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wzp_sfu::limits::Limits;
use wzp_telemetry::settings::{Audit, Health, Logging, Metrics, Tracing};

pub use auth::{AuthMode, AuthSection, JwtAlgorithm, JwtSection, WebhookSection};
pub use change::{Applies, Change};
pub use flags::Flags;
pub use key::redact;
pub use load::{Loaded, StateDir};
pub(crate) use problem::Complaint;
pub use problem::{ConfigError, Origin, Problem};
pub use sections::{AdminSection, EbpfMode, EbpfSection, ForwardSection, MAX_SHARDS, RelaySection};
pub use url::{Url, UrlError};

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
    /// What operators ask a relay that runs.
    pub admin: AdminSection,
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
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Loaded::new(flags).map(|loaded| loaded.config)
    }

    /// Whether these settings, which [`Change::apply`] has made of two configurations that
    /// differ by `changes`, go together: each of the two does.
    ///
    /// # Errors
    /// [`ConfigError::Problems`].
    pub fn check_in_force(&self, changes: &[Change]) -> Result<(), ConfigError> {
        let waits = |key: &str| {
            changes.iter().any(|change| change.key == key && change.applies == Applies::Restart)
        };
        let origin = |key: &str| if waits(key) { Origin::Waiting } else { Origin::InForce };
        let found = self.check().into_iter().chain(files::check(self, None));
        let found = found.map(|complaint| Problem {
            keys: complaint.keys.into_iter().map(|key| (key.to_owned(), origin(key))).collect(),
            text: complaint.text,
        });
        let found: Vec<_> = found.collect();
        if found.is_empty() { Ok(()) } else { Err(ConfigError::Problems(found)) }
    }
}
