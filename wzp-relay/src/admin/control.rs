//! What can be done with a running relay, whoever asks: the admin socket and
//! signals. Never waits for a shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use tokio::sync::Notify;
use tracing::{debug_span, info, warn};
use wzp_telemetry::health::Health;
use wzp_telemetry::lock::{Mutex, MutexGuard};
use wzp_telemetry::log::Log;
use wzp_telemetry::log::target;
use wzp_telemetry::trace::{KeyValue, finished};

use super::drain::{Drain, DrainError, Draining, Signalled, Then};
use super::lists::{CountedInterface, DrainStatus, RoomRow, SessionRow, Status};
use super::recent::Recent;
use super::reload::{CurrentIdentity, Keys, Reloaded, Reloading};
use super::systemd;
use crate::audit::{Action, Operator};
use crate::auth::authenticator::Authenticator;
use crate::config::{Config, Flags};
use crate::events::Followers;
use crate::mailbox::Postbox;
use crate::metrics::Sources;
use crate::words::{date, seconds};
use crate::{audit, build_info};
use wzp_kernel::InterfaceStatus;
use wzp_sfu::admission::Population;
use wzp_sfu::ids::SessionId;
use wzp_sfu::mail::ControlMail;

/// How often a draining relay looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(10);

/// The handles on a running relay.
pub struct Control {
    /// Where it listens.
    pub listening: SocketAddr,
    /// The command line, which a reload applies again.
    pub flags: Flags,
    /// What reloads the configuration.
    pub reloading: Reloading,
    /// The configuration in force: what waits for a restart is not in it.
    pub config: Mutex<Arc<Config>>,
    /// What metrics and lists are read from.
    pub sources: Sources,
    /// Where mail for each shard goes.
    pub shards: Vec<Postbox>,
    /// The certificate in use.
    pub identity: CurrentIdentity,
    /// What decides about tokens.
    pub authenticator: Arc<Authenticator>,
    /// The log, whose level and file can be changed.
    pub log: Log,
    /// How the relay is.
    pub health: Arc<dyn Health>,
    /// Whether it drains.
    pub drain: DrainState,
    /// How fast things go.
    pub recent: Recent,
    /// Who follows what happens.
    pub followers: Arc<Followers>,
}

/// Whether the relay drains, and a way to hear of it.
#[derive(Debug, Default)]
pub struct DrainState {
    drain: Mutex<Drain>,
    /// When it began.
    since: Mutex<Option<Instant>>,
    changed: Notify,
}

impl DrainState {
    fn get(&self) -> MutexGuard<'_, Drain> {
        // Every change leaves the state whole, so a panic elsewhere is no harm.
        self.drain.lock()
    }

    fn begins(&self) {
        self.since().get_or_insert_with(Instant::now);
    }

    /// The drain is over; nothing if there is none.
    pub fn ends(&self, how: &'static str) {
        if let Some(since) = self.since().take() {
            finished("drain", since, Instant::now(), None, || [KeyValue::new("end", how)]);
        }
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Drain) -> T) -> T {
        let result = change(&mut self.get());
        self.changed.notify_waiters();
        result
    }
}

/// The most that any of the sessions has.
fn worst(sessions: &[SessionRow], of: fn(&SessionRow) -> Option<f64>) -> Option<f64> {
    sessions.iter().filter_map(of).max_by(f64::total_cmp)
}

impl Control {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        // It is replaced whole, so a panic elsewhere is no harm.
        self.config.lock().clone()
    }

    /// How the relay is.
    pub fn status(&self) -> Status {
        let population = self.sources.admission.population();
        let by_kernel = self.sources.accounts.counts_rooms();
        let draining = self.drain.get().draining();
        let sessions = self.sessions();
        Status {
            version: build_info::VERSION.into(),
            commit: build_info::COMMIT.into(),
            pid: std::process::id(),
            health: self.health.report().status().name().into(),
            ready: self.sources.is_ready(),
            uptime_seconds: seconds(self.sources.started.elapsed()),
            sessions: population.sessions,
            rooms: self.population().1,
            pending_connections: population.handshakes,
            shards: self.shards.len(),
            listen: self.listening.to_string(),
            forwarded_source: if by_kernel { "kernel" } else { "userspace" }.into(),
            interfaces: self.interfaces(),
            fingerprint: self.identity.fingerprint().to_string(),
            certificate_expires: date(self.identity.expires().load(Ordering::Relaxed)),
            log_level: self.log.filter(),
            traffic: self.recent.traffic(),
            worst_loss_pct: worst(&sessions, |row| row.loss_pct),
            worst_loss_out_pct: worst(&sessions, |row| row.loss_out_pct),
            blocked: self.sources.accounts.blocked(),
            drain: draining.map(|Draining { deadline, then }| DrainStatus {
                remaining_seconds: seconds(deadline.saturating_duration_since(Instant::now())),
                exits: then != Then::Stay,
                can_be_taken_back: then != Then::ExitForGood,
            }),
        }
    }

    fn interfaces(&self) -> Vec<CountedInterface> {
        let interfaces = self.sources.accounts.reader().statistics().interfaces;
        let row = |interface: InterfaceStatus| CountedInterface {
            name: interface.name,
            rx: interface.rx.name().to_owned(),
            tx: interface.tx.name().to_owned(),
        };
        interfaces.into_iter().map(row).collect()
    }

    /// How many sessions there are, and how many rooms with members.
    pub fn population(&self) -> (u32, u64) {
        let rooms = self.sources.shards.iter().map(|shard| shard.rooms.get()).sum();
        (self.sources.admission.population().sessions, rooms)
    }

    /// Whether nobody is taken in any more.
    pub fn is_draining(&self) -> bool {
        self.drain.get().draining().is_some()
    }

    /// Everyone who is in a room.
    pub fn sessions(&self) -> Vec<SessionRow> {
        self.sources.sessions.list().into_iter().map(SessionRow::from).collect()
    }

    /// The rooms with members, and what was forwarded to them.
    pub fn rooms(&self) -> Vec<RoomRow> {
        self.sources.accounts.settle();
        let by_kernel = self.sources.accounts.counts_rooms();
        RoomRow::list(&self.sessions(), &self.sources.rooms, by_kernel)
    }

    /// Takes nobody in any more, and closes those who are left after `patience`.
    /// With `exit` the relay ends then.
    ///
    /// # Errors
    /// [`DrainError::ForGood`].
    pub fn drain(&self, patience: Duration, exit: bool) -> Result<(), DrainError> {
        let deadline = self.drain.change(|drain| drain.order(Instant::now(), patience, exit))?;
        self.drain.begins();
        self.tell_shards_to_drain(deadline);
        Ok(())
    }

    /// Takes an operator's drain back.
    ///
    /// # Errors
    /// Any [`DrainError`].
    pub fn undrain(&self) -> Result<(), DrainError> {
        self.drain.change(Drain::take_back)?;
        self.drain.ends("taken back");
        self.sources.draining.store(false, Ordering::Relaxed);
        self.shards.iter().for_each(|shard| shard.post(ControlMail::Undrain));
        Ok(())
    }

    /// A signal wants the relay to end.
    pub fn end_by_signal(&self) -> Signalled {
        let patience = self.config().relay.drain_timeout;
        let signalled = self.drain.change(|drain| drain.signal(Instant::now(), patience));
        if let Signalled::Drains(deadline) = signalled {
            self.drain.begins();
            self.tell_shards_to_drain(deadline);
            systemd::stopping(deadline.saturating_duration_since(Instant::now()));
        }
        signalled
    }

    fn tell_shards_to_drain(&self, deadline: Instant) {
        self.sources.draining.store(true, Ordering::Relaxed);
        self.shards.iter().for_each(|shard| shard.post(ControlMail::Drain { deadline }));
    }

    /// Waits until the relay is to end: a drain that leads there is over.
    pub async fn ended(&self) {
        loop {
            // From here on no change is missed.
            let changed = self.drain.changed.notified();
            let ends_by = self.drain.get().ends_by();
            let over = async {
                match ends_by {
                    Some(by) => tokio::select! {
                        () = self.nobody_is_left() => {}
                        () = tokio::time::sleep_until(by.into()) => {}
                    },
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                () = changed => {}
            }
        }
    }

    async fn nobody_is_left(&self) {
        while self.sources.admission.population() != Population::default() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends a session with a sentence for the client. False if there is none of
    /// that id.
    pub fn kick(&self, session: SessionId, reason: Option<&str>) -> bool {
        let id = session.to_string();
        let is_there = self.sessions().iter().any(|row| row.session == id);
        if is_there {
            self.tell_shards_to_kick(session, reason);
        }
        is_there
    }

    /// Ends all sessions from an address in canonical form; how many there were.
    pub fn kick_all_from(&self, ip: IpAddr, reason: Option<&str>) -> usize {
        let of = |row: SessionRow| {
            let peer: SocketAddr = row.peer.parse().ok()?;
            let session = SessionId::parse(&row.session)?;
            (peer.ip() == ip).then_some(session)
        };
        let sessions: Vec<_> = self.sessions().into_iter().filter_map(of).collect();
        sessions.iter().for_each(|session| self.tell_shards_to_kick(*session, reason));
        sessions.len()
    }

    fn tell_shards_to_kick(&self, session: SessionId, reason: Option<&str>) {
        let text = match reason {
            Some(reason) => format!("an operator ended this session: {reason}"),
            None => "an operator ended this session".to_owned(),
        };
        for shard in &self.shards {
            shard.post(ControlMail::Kick { session, text: text.clone() });
        }
    }

    /// Reloads configuration, certificate and keys, and takes on what can be
    /// taken on at once. `by` as in [`Action`].
    ///
    /// # Errors
    /// Something is not usable; all stays as it was.
    pub fn reload(&self, by: Option<&Operator>) -> Result<Reloaded> {
        let Some(place) = self.reloading.place() else {
            warn!(target: target::ADMIN, "a reload is under way and another one waits for it, which is enough");
            bail!("a reload is under way and another one waits for it; it reads what there is now");
        };
        let _turn = place.turn();
        let _span = debug_span!("reload").entered();
        systemd::reloading();
        // Whoever moved it away needs a new one whatever the configuration says.
        if let Err(error) = self.sources.audit.reopen() {
            warn!(target: target::ADMIN, %error, "the audit log goes on in the old file");
        }
        let result = self.read_anew();
        systemd::ready();
        match &result {
            Ok((reloaded, token_keys)) => {
                self.sources.reloads.succeeded(reloaded.waiting.len());
                let details = json!({"changes": reloaded.changes, "waiting": reloaded.waiting});
                self.report(by, "reload", details, Ok(()));
                let Keys { old_key_id, new_key_id, expires, .. } = &reloaded.keys;
                if old_key_id != new_key_id {
                    let details = json!({"what": "certificate", "old_key_id": old_key_id,
                                         "new_key_id": new_key_id, "expires": expires});
                    self.report(by, "key_rotation", details, Ok(()));
                }
                if token_keys.is_any() {
                    self.report(by, "key_rotation", audit::token_keys(token_keys), Ok(()));
                }
            }
            Err(error) => {
                self.sources.reloads.failed();
                self.report(by, "reload", json!({}), Err(format!("{error:#}")));
            }
        }
        result.map(|(reloaded, _)| reloaded)
    }

    /// Writes to the log and the audit log what somebody had the relay do.
    pub fn report(
        &self,
        by: Option<&Operator>,
        event: &'static str,
        details: serde_json::Value,
        result: Result<(), String>,
    ) {
        let action = Action { by: by.cloned(), event, details, result };
        let by = by.map_or_else(|| "a signal".to_owned(), ToString::to_string);
        let details = &action.details;
        match &action.result {
            Ok(()) => info!(target: target::ADMIN, by, action = event, %details, "done as told"),
            Err(error) => {
                warn!(target: target::ADMIN, by, action = event, %details, error, "refused")
            }
        }
        self.followers.tell("changed", || {
            json!({ "action": action.event, "by": by, "details": details,
                    "error": action.result.as_ref().err() })
        });
        if let Err(error) = audit::action(&self.sources.audit, &action) {
            warn!(target: target::ADMIN, %error, action = event, "what was done is not in the audit log");
        }
    }
}
