//! What can be reloaded while the relay runs: configuration, certificate, keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use quinn_proto::ServerConfig;
use serde::{Deserialize, Serialize};
use wzp_telemetry::lock::{Mutex, MutexGuard};
use wzp_telemetry::probe;
use wzp_transport::fingerprint::Fingerprint;
use wzp_transport::identity::{IDENTITY_FILE, Identity, IdentityError};
use wzp_transport::parameters;

use super::control::Control;
use crate::audit::KeyChange;
use crate::config::{Applies, Change, Config, RelaySection};
use crate::mailbox::Postbox;
use crate::words::date;
use wzp_sfu::limits::Limits;
use wzp_sfu::mail::ControlMail;

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Changes that count from now on, as `key: old -> new`.
    pub changes: Vec<String>,
    /// Those that count after a restart.
    pub waiting: Vec<String>,
    /// The keys in use.
    pub keys: Keys,
}

/// The certificate that was used and the one that is, and keys for tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The certificate's fingerprint before.
    pub old_key_id: String,
    /// Its fingerprint now; the same if the files had not changed.
    pub new_key_id: String,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// Keys that tokens may be signed with from now on.
    pub token_keys_added: Vec<String>,
    /// Those that they may not any more.
    pub token_keys_removed: Vec<String>,
}

/// Reloads, one after the other: each compares with what the last has left. Files may keep
/// one waiting for ever, so no more wait for it than are of use.
#[derive(Debug, Default)]
pub struct Reloading {
    inside: AtomicUsize,
    turn: Mutex<()>,
}

/// The right to reload, after whoever is at it.
pub struct Place<'a>(&'a Reloading);

impl Reloading {
    /// `None`: one is under way and another one waits, which will read what there is now.
    pub fn place(&self) -> Option<Place<'_>> {
        let enter = |inside: usize| (inside < 2).then_some(inside + 1);
        let entered = self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter);
        entered.is_ok().then_some(Place(self))
    }
}

impl Place<'_> {
    /// Waits for the end of the one before.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An identity that was read and is not used yet.
pub struct NextIdentity(State);

/// The identity that new connections get.
pub struct CurrentIdentity {
    state: Mutex<State>,
    expires: Arc<AtomicI64>,
}

struct State {
    identity: Identity,
    server: Arc<ServerConfig>,
}

impl CurrentIdentity {
    /// The identity that the configuration names, read for the first time.
    ///
    /// # Errors
    /// It cannot be read, or not be used.
    pub fn read(relay: &RelaySection, limits: &Limits) -> Result<Self> {
        let identity = read(relay)?;
        let server = parameters::server(identity.quic_server_config()?, limits.idle_timeout);
        let expires = Arc::new(AtomicI64::new(identity.expires()));
        Ok(Self { state: Mutex::new(State { identity, server: Arc::new(server) }), expires })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere is no harm.
        self.state.lock()
    }

    /// The identity in use.
    pub fn identity(&self) -> Identity {
        self.state().identity.clone()
    }

    /// The same as shards take it.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.state().server.clone()
    }

    /// The fingerprint in use.
    pub fn fingerprint(&self) -> Fingerprint {
        self.state().identity.fingerprint()
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn expires(&self) -> &Arc<AtomicI64> {
        &self.expires
    }

    /// Reads the identity again. Nothing changes before [`Self::take`].
    ///
    /// # Errors
    /// The files are not usable.
    pub fn prepare(&self, relay: &RelaySection) -> Result<NextIdentity> {
        let identity = read(relay)?;
        // All but the identity stays, the key of Retry tokens above all: clients
        // that were told to come back may be on their way.
        let mut server = (*self.server()).clone();
        server.crypto = identity.quic_server_config()?;
        Ok(NextIdentity(State { identity, server: Arc::new(server) }))
    }

    /// Gives all shards an identity for connections that begin from now on;
    /// sessions keep what they began with. Stateless resets stay signed with the
    /// key of the relay's start. Returns the fingerprints before and after.
    pub fn take(&self, NextIdentity(next): NextIdentity, shards: &[Postbox]) -> (String, String) {
        let new = next.identity.fingerprint().to_string();
        self.expires.store(next.identity.expires(), Ordering::Relaxed);
        for shard in shards {
            shard.post(ControlMail::Server(next.server.clone()));
        }
        let before = std::mem::replace(&mut *self.state(), next);
        (before.identity.fingerprint().to_string(), new)
    }
}

impl Control {
    /// Takes on what can be taken on at once, or nothing: whatever can fail comes
    /// before the first change that stays.
    pub(super) fn read_anew(&self) -> Result<(Reloaded, KeyChange)> {
        let old = self.config();
        let wanted = Config::load(&self.flags)?;
        let changes = Change::between(&old, &wanted);
        let new = Change::apply(&old, &wanted)?;
        new.check_in_force(&changes)?;
        let identity = self.identity.prepare(&new.relay).context("relay.cert and relay.key")?;
        let tokens = self.authenticator.prepare(&new.auth).context("[auth]")?;
        self.log.apply(&new.logging)?;

        let tokens = self.authenticator.take(tokens);
        let (old_key_id, new_key_id) = self.identity.take(identity, &self.shards);
        let limits = Arc::new(new.limits.clone());
        self.sources.admission.set_limits(&limits);
        self.shards.iter().for_each(|shard| shard.post(ControlMail::Limits(limits.clone())));
        self.sources.rooms.set_max_series(new.metrics.max_room_series);
        self.sources.sessions.set_max_series(new.metrics.max_session_series);
        self.sources.rooms.retention.set(new.metrics.keep_ended);
        self.sources.sessions.retention.set(new.metrics.keep_ended);
        self.sources.audit.apply(&new.audit);
        *self.config.lock() = Arc::new(new);

        let (waiting, taken): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.applies == Applies::Restart);
        let told = |changes: Vec<Change>| changes.iter().map(ToString::to_string).collect();
        let reloaded = Reloaded {
            changes: told(taken),
            waiting: told(waiting),
            keys: Keys {
                old_key_id,
                new_key_id,
                expires: date(self.identity.expires().load(Ordering::Relaxed)),
                token_keys_added: tokens.added(),
                token_keys_removed: tokens.removed(),
            },
        };
        Ok((reloaded, tokens))
    }
}

/// The identity that a relay would have now, if it is there already. Makes none.
///
/// # Errors
/// It cannot be read or used, or could not be made.
pub fn look_for_identity(relay: &RelaySection) -> Result<Option<Identity>> {
    let found = match (&relay.cert, &relay.key) {
        (Some(cert), Some(key)) => Some(Identity::from_files(cert, key)?),
        _ => Identity::load(&relay.state_dir)?,
    };
    match &found {
        Some(identity) => drop(identity.quic_server_config()?),
        None => {
            Identity::check_room(&relay.state_dir)?;
            let path = relay.state_dir.join(IDENTITY_FILE);
            probe::file(&path)
                .and_then(|()| probe::room(&path))
                .map_err(|error| IdentityError::Create { path, reason: error.to_string() })?;
        }
    }
    Ok(found)
}

/// Files of the operator, or the self-signed identity of the state directory.
fn read(relay: &RelaySection) -> Result<Identity, IdentityError> {
    match (&relay.cert, &relay.key) {
        (Some(cert), Some(key)) => Identity::from_files(cert, key),
        _ => Identity::load_or_create(&relay.state_dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &std::path::Path) -> String {
        let (identity, pem) = Identity::generate().unwrap();
        std::fs::write(path, pem).unwrap();
        identity.fingerprint().to_string()
    }

    #[test]
    fn one_reload_works_and_one_waits() {
        let reloading = Reloading::default();
        let first = reloading.place().unwrap();
        let turn = first.turn();
        let second = reloading.place().unwrap();
        assert!(reloading.place().is_none(), "the second reads what the third would");
        drop(turn);
        drop(first);
        let _turn = second.turn();
        assert!(reloading.place().is_some());
    }

    #[test]
    fn new_files_are_taken_and_wrong_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.pem");
        let first = write(&path);
        let (cert, key) = (Some(path.clone()), Some(path.clone()));
        let relay = RelaySection { cert, key, ..RelaySection::default() };
        let current = CurrentIdentity::read(&relay, &Limits::default()).unwrap();
        let reload = || Ok::<_, anyhow::Error>(current.take(current.prepare(&relay)?, &[]));
        assert_eq!(reload().unwrap(), (first.clone(), first.clone()));

        let second = write(&path);
        assert_eq!(reload().unwrap(), (first, second.clone()));
        assert_eq!(current.fingerprint().to_string(), second);

        let server = current.server();
        std::fs::write(&path, "not PEM").unwrap();
        let error = format!("{:#}", reload().unwrap_err());
        assert!(error.contains("relay.pem"), "{error}");
        assert_eq!(current.fingerprint().to_string(), second);
        assert!(Arc::ptr_eq(&server, &current.server()));
    }

    #[test]
    fn a_self_signed_identity_is_made_anew_once_its_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let relay = RelaySection { state_dir: folder.path().into(), ..RelaySection::default() };
        let current = CurrentIdentity::read(&relay, &Limits::default()).unwrap();
        std::fs::remove_file(folder.path().join(IDENTITY_FILE)).unwrap();
        let (old, new) = current.take(current.prepare(&relay).unwrap(), &[]);
        assert_ne!(old, new);
    }
}
