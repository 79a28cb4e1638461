//! What can be done with a running relay, whoever asks: the admin socket and
//! signals. Never waits for a shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use tokio::sync::Notify;
use tracing::{debug_span, info, warn};
use wzp_telemetry::health::Health;
use wzp_telemetry::log::Log;
use wzp_telemetry::trace::{KeyValue, finished};

use super::drain::{Drain, DrainError, Draining, Signalled, Then};
use super::lists::{DrainStatus, RoomRow, SessionRow, Status};
use super::operator::{Action, Operator};
use super::reload::{CurrentIdentity, Keys, Reloaded, Reloading};
use super::systemd;
use crate::audit;
use crate::auth::authenticator::Authenticator;
use crate::config::{Cli, Config};
use crate::metrics::Sources;
use crate::net::mailbox::Postbox;
use crate::room::SessionId;
use crate::session::admission::Population;
use crate::shard::mail::Mail;

/// How often a draining relay looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(10);

/// The handles on a running relay.
pub struct Control {
    /// Where it listens.
    pub listening: SocketAddr,
    /// The command line, for reading the configuration anew.
    pub cli: Cli,
    /// Who reads the configuration anew.
    pub reloading: Reloading,
    /// The configuration in force: what waits for a restart is not in it.
    pub config: Mutex<Arc<Config>>,
    /// The numbers.
    pub sources: Sources,
    /// The shards.
    pub shards: Vec<Postbox>,
    /// The certificate in use.
    pub identity: CurrentIdentity,
    /// What decides about tokens.
    pub authenticator: Arc<Authenticator>,
    /// The log.
    pub log: Log,
    /// How the relay is.
    pub health: Arc<dyn Health>,
    /// Whether it drains.
    pub drain: DrainState,
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
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Drain) -> T) -> T {
        let result = change(&mut self.get());
        self.changed.notify_waiters();
        result
    }
}

impl Control {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        // It is replaced whole, so a panic elsewhere is no harm.
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the relay is.
    pub fn status(&self) -> Status {
        let population = self.sources.admission.population();
        let by_kernel = self.sources.accounts.counts_rooms();
        let draining = self.drain.get().draining();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            health: self.health.report().status().name().into(),
            ready: self.sources.is_ready(),
            uptime_seconds: self.sources.started.elapsed().as_secs_f64(),
            sessions: population.sessions,
            rooms: self.sources.shards.iter().map(|shard| shard.rooms.get()).sum(),
            pending_connections: population.handshakes,
            shards: self.shards.len(),
            listen: self.listening.to_string(),
            forwarded_source: if by_kernel { "kernel" } else { "userspace" }.into(),
            fingerprint: self.identity.fingerprint().to_string(),
            certificate_expires: self.identity.expires().load(Ordering::Relaxed),
            drain: draining.map(|Draining { deadline, then }| DrainStatus {
                remaining_seconds: deadline.saturating_duration_since(Instant::now()).as_secs_f64(),
                exits: then != Then::Stay,
                can_be_taken_back: then != Then::ExitForGood,
            }),
        }
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
        self.shards.iter().for_each(|shard| shard.post(Mail::Undrain));
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
        self.shards.iter().for_each(|shard| shard.post(Mail::Drain { deadline }));
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
            shard.post(Mail::Kick { session, text: text.clone() });
        }
    }

    /// Reads configuration, certificate and keys anew and takes on what can be
    /// taken on at once. `by` as in [`Action`].
    ///
    /// # Errors
    /// Something is not usable; all stays as it was.
    pub fn reload(&self, by: Option<&Operator>) -> Result<Reloaded> {
        let Some(place) = self.reloading.place() else {
            warn!("a reload is under way and another one waits for it, which is enough");
            bail!("a reload is under way and another one waits for it; it reads what there is now");
        };
        let _turn = place.turn();
        let _span = debug_span!("reload").entered();
        systemd::reloading();
        // Whoever moved it away needs a new one whatever the configuration says.
        if let Err(error) = self.sources.audit.reopen() {
            warn!(%error, "the audit log goes on in the old file");
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
            Ok(()) => info!(by, action = event, %details, "done as told"),
            Err(error) => warn!(by, action = event, %details, error, "refused"),
        }
        if let Err(error) = audit::action(&self.sources.audit, &action) {
            warn!(%error, action = event, "what was done is not in the audit log");
        }
    }
}
