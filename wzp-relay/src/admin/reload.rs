//! What can be read anew while the relay runs: configuration, certificate, keys.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use quinn_proto::ServerConfig;
use serde::{Deserialize, Serialize};
use wzp_transport::identity::{Fingerprint, Identity, IdentityError};
use wzp_transport::parameters;

use super::control::Control;
use crate::auth::authenticator::KeyChange;
use crate::config::{Applies, Change, Config, Limits, RelaySection};
use crate::net::mailbox::Postbox;
use crate::shard::mail::Mail;

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
    /// When it expires, in seconds since 1970.
    pub expires: i64,
    /// Keys that tokens may be signed with from now on.
    pub token_keys_added: Vec<String>,
    /// Those that they may not any more.
    pub token_keys_removed: Vec<String>,
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Reads the identity anew. Nothing changes before [`Self::take`].
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
            shard.post(Mail::Server(next.server.clone()));
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
        let wanted = Config::load(&self.cli)?;
        let changes = Change::between(&old, &wanted);
        let new = Change::apply(&old, &wanted)?;
        let identity = self.identity.prepare(&new.relay).context("relay.cert and relay.key")?;
        let tokens = self.authenticator.prepare(&new.auth).context("[auth]")?;
        self.log.apply(&new.logging)?;

        let tokens = self.authenticator.take(tokens);
        let (old_key_id, new_key_id) = self.identity.take(identity, &self.shards);
        let limits = Arc::new(new.limits.clone());
        self.sources.admission.set_limits(&limits);
        self.shards.iter().for_each(|shard| shard.post(Mail::Limits(limits.clone())));
        self.sources.rooms.set_max_series(new.metrics.max_room_series);
        self.sources.sessions.set_max_series(new.metrics.max_session_series);
        self.sources.audit.apply(&new.audit);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);

        let (waiting, taken): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.applies == Applies::Restart);
        let told = |changes: Vec<Change>| changes.iter().map(ToString::to_string).collect();
        let reloaded = Reloaded {
            changes: told(taken),
            waiting: told(waiting),
            keys: Keys {
                old_key_id,
                new_key_id,
                expires: self.identity.expires().load(Ordering::Relaxed),
                token_keys_added: tokens.added(),
                token_keys_removed: tokens.removed(),
            },
        };
        Ok((reloaded, tokens))
    }
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
        std::fs::remove_file(folder.path().join(wzp_transport::identity::IDENTITY_FILE)).unwrap();
        let (old, new) = current.take(current.prepare(&relay).unwrap(), &[]);
        assert_ne!(old, new);
    }
}
