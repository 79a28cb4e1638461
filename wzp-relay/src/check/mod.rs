//! What only this host can tell: whether a relay with these settings could start here and
//! now, found out with the start's own functions, each of which is undone. What keeps a
//! relay from starting is an error, what would hurt it later a warning.

mod running;
mod warnings;

use std::fmt::Display;
use std::path::Path;

use wzp_telemetry::audit::{Audit, AuditError};
use wzp_telemetry::http::{self, ListenError, WebConfig};
use wzp_telemetry::log::{self, LogError};
use wzp_telemetry::{probe, trace};

use crate::admin::serve::{self, HEALTH, METRICS};
use crate::admin::{reload, socket};
use crate::auth::authenticator::Authenticator;
use crate::config::check::overlap;
use crate::config::{Complaint, Config, EbpfMode};
use crate::net::socket as udp;
use crate::paths::AUDIT_FILE;
use crate::shell;
pub(crate) use running::Running;
use wzp_kernel::{Kernel, Mode, sentence};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What would keep a relay from starting.
    pub(crate) errors: Vec<Complaint>,
    /// What would not.
    pub(crate) warnings: Vec<Complaint>,
    /// What would not either, and the relay would keep nothing of what it is to keep.
    pub(crate) unwritable: Vec<Complaint>,
    /// That the relay's certificate is not good, or not for long.
    pub(crate) validity: Option<Complaint>,
    /// Keys of what could not be tried because the relay that runs has it.
    pub(crate) busy: Vec<&'static str>,
    /// Keys of addresses that somebody else has.
    pub(crate) in_use: Vec<&'static str>,
    /// What the sockets of a relay would have.
    pub(crate) buffers: Option<udp::Buffers>,
    /// The relay that runs with the state directory.
    pub(crate) running: Option<Running>,
    /// What was not tried, and why.
    pub(crate) note: Option<String>,
}

/// Tries all that a start does. Makes no file, attaches to no interface, asks no server;
/// looks up names.
pub(crate) async fn examine(config: &Config) -> Findings {
    let running = Running::find(&config.relay).await;
    let mut trial = Trial { config, found: Findings { running, ..Findings::default() } };
    trial.log();
    trial.attempt("tracing.endpoint", trace::check(&config.tracing));
    trial.state();
    trial.audit();
    trial.clients();
    trial.buffers();
    trial.pages().await;
    trial.kernel();
    trial.attempt("auth.mode", Authenticator::check(&config.auth));
    trial.found.warnings.extend(warnings::all(config));
    let Findings { running, busy, .. } = &trial.found;
    trial.found.note = running.as_ref().map(|running| running.note(busy));
    trial.found
}

struct Trial<'a> {
    config: &'a Config,
    found: Findings,
}

impl Trial<'_> {
    fn attempt<T>(&mut self, key: &'static str, outcome: Result<T, impl Display>) -> Option<T> {
        outcome
            .map_err(|error| self.found.errors.push(Complaint::new([key], format!("{error:#}"))))
            .ok()
    }

    /// Whether it is so in the relay that runs here, if that is known.
    fn runs(&self, is_so: impl FnOnce(&Config) -> bool) -> Option<bool> {
        self.found.running.as_ref().map_or(Some(false), |running| running.has(is_so))
    }

    /// Something is in use. `by_relay`: whether the relay that runs here uses it, if that
    /// is known.
    fn taken(&mut self, key: &'static str, error: &impl Display, by_relay: Option<bool>) {
        let complaint = Complaint::new([key], error.to_string());
        match by_relay {
            Some(true) => self.found.busy.push(key),
            Some(false) => self.found.errors.push(complaint),
            None => self.found.warnings.push(complaint),
        }
    }

    /// Whether the disk takes what is to be kept at `path`. What is wrong already is not
    /// told again.
    fn room(&mut self, keys: &[&'static str], path: &Path) {
        let is_told = |complaint: &Complaint| keys.iter().any(|key| complaint.keys.contains(key));
        if self.found.errors.iter().any(is_told) {
            return;
        }
        let (list, text) = match (probe::room(path), probe::shortage(path)) {
            (Err(error), _) => {
                let text = format!("{} cannot be written: {error}", path.display());
                (&mut self.found.unwritable, text)
            }
            (Ok(()), Some(shortage)) => {
                let text = format!("only {shortage}: what is to be kept there will soon be lost");
                (&mut self.found.warnings, text)
            }
            (Ok(()), None) => return,
        };
        let mut complaint = Complaint::new([], text).mended_by(space(path));
        complaint.keys = keys.into();
        list.push(complaint);
    }

    fn log(&mut self) {
        match log::check(&self.config.logging) {
            Err(error @ LogError::Taken { .. }) => {
                let own = self.runs(|other| other.logging.file == self.config.logging.file);
                self.taken("logging.file", &error, own);
            }
            Err(error @ LogError::Filter { .. }) => {
                self.attempt("logging.level", Err::<(), _>(format!("RUST_LOG: {error}")));
            }
            outcome => drop(self.attempt("logging.file", outcome)),
        }
        if let Some(file) = &self.config.logging.file {
            self.room(&["logging.file"], file);
        }
    }

    fn state(&mut self) {
        let relay = &self.config.relay;
        let key = if relay.cert.is_some() { "relay.cert" } else { "relay.state_dir" };
        if let Some(Some(identity)) = self.attempt(key, reload::look_for_identity(relay)) {
            self.found.validity = warnings::validity(key, "", identity.validities());
        }
        self.attempt("relay.state_dir", socket::check(&relay.admin_socket()));
        self.room(&["relay.state_dir"], &relay.admin_socket());
    }

    fn audit(&mut self) {
        let place = |config: &Config| {
            let own = || config.relay.state_dir.join(AUDIT_FILE);
            config.audit.enabled.then(|| config.audit.file.clone().unwrap_or_else(own))
        };
        // The state directory, where it is by default, is looked at by itself.
        let key = if self.config.audit.file.is_some() { "audit.file" } else { "audit.enabled" };
        let default = self.config.relay.state_dir.join(AUDIT_FILE);
        match Audit::check(&self.config.audit, &default) {
            Err(error @ AuditError::Taken { .. }) => {
                let own = self.runs(|other| place(other) == place(self.config));
                self.taken(key, &error, own);
            }
            outcome => drop(self.attempt(key, outcome)),
        }
        if let Some(file) = place(self.config) {
            self.room(&[key], &file);
        }
    }

    fn clients(&mut self) {
        let wanted = self.config.relay.listen;
        let buffer = self.config.relay.receive_buffer_bytes;
        match udp::bind(wanted, serve::shard_count(self.config), buffer) {
            Ok(_) => {}
            Err(error @ udp::ListenError::InUse { .. }) => {
                let own = self.runs(|other| overlap(other.relay.listen, wanted));
                self.taken("relay.listen", &error, own);
                self.found.in_use.push("relay.listen");
            }
            Err(error) => drop(self.attempt("relay.listen", Err::<(), _>(error))),
        }
    }

    /// What sockets get, whether or not the address can be had at the moment.
    fn buffers(&mut self) {
        const KEY: [&str; 1] = ["relay.receive_buffer_bytes"];
        let (wanted, buffer) =
            (self.config.relay.listen.ip(), self.config.relay.receive_buffer_bytes);
        self.found.buffers = udp::trial(wanted, 1, buffer)
            .ok()
            .and_then(|sockets| udp::Buffers::of(&sockets, buffer));
        match self.found.buffers {
            Some(buffers) => {
                let mut small = buffers.problem().map(|text| Complaint::new(KEY, text));
                if let Some(small) = &mut small {
                    small.command = buffers.remedy();
                }
                self.found.warnings.extend(small);
            }
            None => {
                let text = "there is no UDP socket to try them with";
                self.found.warnings.push(Complaint::new(KEY, text));
            }
        }
    }

    async fn pages(&mut self) {
        let Config { metrics, health, .. } = self.config;
        let listeners = [
            ("metrics.listen_addr", metrics.enabled.then_some(metrics.listen_addr), METRICS),
            ("health.listen_addr", health.enabled.then_some(health.listen_addr), HEALTH),
        ];
        // Both at a time, as a relay has them.
        let mut open = Vec::new();
        for (key, address, purpose) in listeners {
            let Some(address) = address else { continue };
            match http::bind(address, purpose).await {
                Err(error @ ListenError::InUse { .. }) => {
                    let own = self.runs(|other| {
                        let of = |enabled, theirs| enabled && overlap(theirs, address);
                        of(other.metrics.enabled, other.metrics.listen_addr)
                            || of(other.health.enabled, other.health.listen_addr)
                    });
                    self.taken(key, &error, own);
                    self.found.in_use.push(key);
                }
                outcome => open.extend(self.attempt(key, outcome)),
            }
        }
        if let Some(path) = metrics.web_config.as_deref().filter(|_| metrics.enabled) {
            self.attempt("metrics.web_config", WebConfig::load(path));
        }
    }

    fn kernel(&mut self) {
        let listening = self.config.relay.listen;
        let options = serve::kernel_options(&self.config.ebpf, listening);
        if options.mode == Mode::Off {
            return;
        }
        let Err(error) = Kernel::try_load(&options) else { return };
        let text = format!("the kernel would not count packets: {}", sentence(&error));
        let complaint = Complaint::new(["ebpf.interfaces"], text);
        match self.config.ebpf.mode {
            EbpfMode::Require => self.found.errors.push(complaint),
            EbpfMode::Auto | EbpfMode::Off => self.found.warnings.push(complaint),
        }
    }
}

/// Shows what is full: blocks or files.
fn space(path: &Path) -> String {
    let path = shell::path(probe::nearest(path));
    format!("df -h {path}; df -i {path}")
}
