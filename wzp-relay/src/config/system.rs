//! What only this host can tell: whether a relay with these settings could start here and
//! now, found out with the start's own functions, each of which is undone. What keeps a
//! relay from starting is an error, what would hurt it later a warning.

mod running;
mod warnings;

use std::fmt::Display;

use wzp_telemetry::audit::{Audit, AuditError};
use wzp_telemetry::http::{self, ListenError, WebConfig};
use wzp_telemetry::log::{self, LogError};
use wzp_telemetry::trace;

use super::check::overlap;
use super::problem::Complaint;
use super::{Config, EbpfMode};
use crate::admin::serve::{self, AUDIT_FILE, HEALTH, METRICS};
use crate::admin::{reload, socket};
use crate::auth::authenticator::Authenticator;
use crate::kernel::{Kernel, Mode, sentence};
use crate::net::socket as udp;
use running::Running;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What would keep a relay from starting.
    pub(super) errors: Vec<Complaint>,
    /// What would not.
    pub(super) warnings: Vec<Complaint>,
    /// What was not tried, and why.
    pub(super) note: Option<String>,
}

/// Tries all that a start does. Makes no file, attaches to no interface, asks no server;
/// looks up names.
pub(super) async fn examine(config: &Config) -> Findings {
    let mut trial = Trial {
        config,
        running: Running::find(&config.relay).await,
        found: Findings::default(),
        busy: Vec::new(),
    };
    trial.log();
    trial.attempt("tracing.endpoint", trace::check(&config.tracing));
    trial.state();
    trial.audit();
    trial.clients();
    trial.pages().await;
    trial.kernel();
    trial.attempt("auth.mode", Authenticator::check(&config.auth));
    trial.found.warnings.extend(warnings::all(config));
    trial.found.note = trial.running.note(&trial.busy);
    trial.found
}

struct Trial<'a> {
    config: &'a Config,
    running: Running,
    found: Findings,
    /// Keys of what could not be tried because the relay that runs has it.
    busy: Vec<&'static str>,
}

impl Trial<'_> {
    fn attempt<T>(&mut self, key: &'static str, outcome: Result<T, impl Display>) -> Option<T> {
        outcome
            .map_err(|error| self.found.errors.push(Complaint::new([key], format!("{error:#}"))))
            .ok()
    }

    /// Something is in use. `by_relay`: whether the relay that runs here uses it, if that
    /// is known.
    fn taken(&mut self, key: &'static str, error: &impl Display, by_relay: Option<bool>) {
        let complaint = Complaint::new([key], error.to_string());
        match by_relay {
            Some(true) => self.busy.push(key),
            Some(false) => self.found.errors.push(complaint),
            None => self.found.warnings.push(complaint),
        }
    }

    fn log(&mut self) {
        match log::check(&self.config.logging) {
            Err(error @ LogError::Taken { .. }) => {
                let own = self.running.has(|other| other.logging.file == self.config.logging.file);
                self.taken("logging.file", &error, own);
            }
            Err(error @ LogError::Filter { .. }) => {
                self.attempt("logging.level", Err::<(), _>(format!("RUST_LOG: {error}")));
            }
            outcome => drop(self.attempt("logging.file", outcome)),
        }
    }

    fn state(&mut self) {
        let relay = &self.config.relay;
        let key = if relay.cert.is_some() { "relay.cert" } else { "relay.state_dir" };
        if let Some(Some(identity)) = self.attempt(key, reload::look_for_identity(relay)) {
            let good = warnings::validity(key, "the certificate", identity.validity());
            self.found.warnings.extend(good);
        }
        self.attempt("relay.state_dir", socket::check(&relay.admin_socket()));
    }

    fn audit(&mut self) {
        let place = |config: &Config| {
            let own = || config.relay.state_dir.join(AUDIT_FILE);
            config.audit.enabled.then(|| config.audit.file.clone().unwrap_or_else(own))
        };
        let key = if self.config.audit.file.is_some() { "audit.file" } else { "relay.state_dir" };
        let default = self.config.relay.state_dir.join(AUDIT_FILE);
        match Audit::check(&self.config.audit, &default) {
            Err(error @ AuditError::Taken { .. }) => {
                let own = self.running.has(|other| place(other) == place(self.config));
                self.taken(key, &error, own);
            }
            outcome => drop(self.attempt(key, outcome)),
        }
    }

    fn clients(&mut self) {
        let wanted = self.config.relay.listen;
        match udp::bind(wanted, serve::shard_count(self.config)) {
            Ok(sockets) => {
                let small = udp::small_buffers(&sockets);
                let small = small.map(|text| Complaint::new(["relay.listen"], text));
                self.found.warnings.extend(small);
            }
            Err(error @ udp::ListenError::InUse { .. }) => {
                let own = self.running.has(|other| overlap(other.relay.listen, wanted));
                self.taken("relay.listen", &error, own);
            }
            Err(error) => drop(self.attempt("relay.listen", Err::<(), _>(error))),
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
                    let own = self.running.has(|other| {
                        let of = |enabled, theirs| enabled && overlap(theirs, address);
                        of(other.metrics.enabled, other.metrics.listen_addr)
                            || of(other.health.enabled, other.health.listen_addr)
                    });
                    self.taken(key, &error, own);
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
