//! TLS and basic authentication, from a file in the form of Prometheus'
//! exporter toolkit (web.config.yml).
//!
//! <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>

use crate::lock::{Mutex, MutexGuard};
use crate::log::target;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use wzp_untrusted::file;

use super::basic::Users;
use super::{server_fields, tls};

/// How long a connection waits until it is known whether the files have changed.
const PATIENCE: Duration = Duration::from_millis(250);

/// The file. What it names is read again when it has changed.
pub struct WebConfig(Arc<Files>);

struct Files {
    path: PathBuf,
    in_use: Mutex<Arc<Protection>>,
    /// What the files looked like when they were read, also if they could not be
    /// used. Held while somebody looks.
    stamps: Arc<tokio::sync::Mutex<Vec<Option<Stamp>>>>,
}

/// How a connection is protected.
pub(super) struct Protection {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) users: Users,
    /// Header fields of all answers.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    /// Whether nobody without a certificate is answered.
    asks_for_certificates: bool,
    /// The files it was read from.
    files: Vec<PathBuf>,
}

/// What changes when a file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    inode: u64,
    length: u64,
}

/// Why the file cannot be used. Nothing of what is in it is told, nor what a library
/// said of it: it may be a password.
#[derive(Debug, Error)]
pub enum WebConfigError {
    /// It is not there, or must not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file that the error is about.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// It is not YAML, or has a key that is not known here.
    #[error("in {}{}: {problem}", path.display(), at(*place))]
    Parse {
        /// The file that the error is about.
        path: PathBuf,
        /// Line and column, if there is one.
        place: Option<(u64, u64)>,
        /// What is wrong, and what is known.
        problem: String,
    },
    /// A password is not hashed, or with a cost that is not taken.
    #[error(
        "in {}: basic_auth_users: the value of {user:?} {problem}; make one with: htpasswd -nBC 10 \"\"",
        path.display()
    )]
    Password {
        /// The file that the error is about.
        path: PathBuf,
        /// The user whose hash it is.
        user: String,
        /// What is wrong, as a predicate.
        problem: String,
    },
    /// Certificates or key cannot be used.
    #[error("in {}: tls_server_config: {problem}", path.display())]
    Tls {
        /// The file that the error is about.
        path: PathBuf,
        /// Which, and why.
        problem: String,
    },
    /// Another key asks for what cannot be had.
    #[error("in {}: {problem}", path.display())]
    Setting {
        /// The file that the error is about.
        path: PathBuf,
        /// Which, and why.
        problem: String,
    },
    /// The file protects less than before.
    #[error(
        "{}: {what} cannot be taken away while the program runs; restart it if that is meant",
        path.display()
    )]
    Weaker {
        /// The file that the error is about.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    tls_server_config: Option<tls::Section>,
    http_server_config: Option<server_fields::Section>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
    rate_limit: Option<IgnoredAny>,
}

const RATE_LIMIT: &str = "rate_limit would bound the requests of all clients together, so that one \
     could keep the others out; here metrics.max_connections_per_address bounds those of each";

impl WebConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`WebConfigError`].
    pub fn load(path: &Path) -> Result<Self, WebConfigError> {
        let protection = Protection::load(path)?;
        let stamps = Arc::new(tokio::sync::Mutex::new(stamps(&protection.files)));
        let in_use = Mutex::new(Arc::new(protection));
        Ok(Self(Arc::new(Files { path: path.to_owned(), in_use, stamps })))
    }

    /// The file and those that it names, as last read.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.in_use().files.clone()
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.0.in_use().tls.is_some()
    }

    /// Whether only those are answered who have a password or a certificate.
    pub fn asks_who(&self) -> bool {
        let protection = self.0.in_use();
        protection.asks_for_certificates || !protection.users.is_empty()
    }

    /// How the next connection is protected. A change that cannot be used is
    /// logged once, and what was there before stays. So it does for a connection that
    /// comes while another one looks, and while a file system does not answer.
    pub(super) async fn current(&self) -> Arc<Protection> {
        if let Ok(mut stamps) = self.0.stamps.clone().try_lock_owned() {
            let files = self.0.clone();
            let look = spawn_blocking(move || files.look(&mut stamps));
            // Too late is for the next connection.
            let _ = timeout(PATIENCE, look).await;
        }
        self.0.in_use().clone()
    }
}

impl Files {
    fn in_use(&self) -> MutexGuard<'_, Arc<Protection>> {
        // It is replaced whole, so a panic elsewhere is no harm.
        self.in_use.lock()
    }

    fn look(&self, before: &mut Vec<Option<Stamp>>) {
        let in_use = self.in_use().clone();
        let now = stamps(&in_use.files);
        if now == *before {
            return;
        }
        match self.reload(&in_use) {
            Ok(protection) => {
                info!(target: target::HTTP, file = %self.path.display(), "read again, it has changed");
                *before = stamps(&protection.files);
                *self.in_use() = Arc::new(protection);
            }
            Err(error) => {
                warn!(target: target::HTTP, %error, "what was read before stays in use");
                *before = now;
            }
        }
    }

    /// A file that is just being written may be empty: that must not open what
    /// was closed.
    fn reload(&self, before: &Protection) -> Result<Protection, WebConfigError> {
        let protection = Protection::load(&self.path)?;
        let weaker = |what| Err(WebConfigError::Weaker { path: self.path.clone(), what });
        if before.tls.is_some() && protection.tls.is_none() {
            return weaker("tls_server_config");
        }
        if !before.users.is_empty() && protection.users.is_empty() {
            return weaker("basic_auth_users");
        }
        Ok(protection)
    }
}

impl Protection {
    fn load(path: &Path) -> Result<Self, WebConfigError> {
        let text = file::read_text(path, file::SETTINGS_BYTES)
            .map_err(|reason| WebConfigError::Read { path: path.into(), reason })?;
        let parse = |error: serde_saphyr::Error| WebConfigError::Parse {
            path: path.into(),
            place: error.location().map(|at| (at.line(), at.column())),
            problem: problem(error.without_snippet()),
        };
        // An empty file is nothing, and protects nothing.
        let content: Option<Content> = serde_saphyr::from_str(&text).map_err(parse)?;
        let content = content.unwrap_or_default();
        let setting = |problem| WebConfigError::Setting { path: path.into(), problem };
        if content.rate_limit.is_some() {
            return Err(setting(RATE_LIMIT.to_owned()));
        }
        let fields = content.http_server_config.unwrap_or_default().fields();
        let fields = fields.map_err(|problem| setting(format!("http_server_config: {problem}")))?;
        let password =
            |(user, problem)| WebConfigError::Password { path: path.into(), user, problem };
        let users = Users::new(content.basic_auth_users).map_err(password)?;
        let mut files = vec![path.to_owned()];
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut asks_for_certificates = false;
        let tls = match content.tls_server_config {
            None => None,
            Some(section) => {
                let section = section.relative_to(folder);
                asks_for_certificates = section.asks_for_certificates();
                files.extend(section.files());
                let acceptor = section.acceptor();
                let tls = |problem| WebConfigError::Tls { path: path.into(), problem };
                Some(acceptor.map_err(tls)?)
            }
        };
        Ok(Self { tls, users, fields, asks_for_certificates, files })
    }
}

/// What is wrong with the file, in words that have nothing of it.
fn problem(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let known = |what: &str, known: &[&str]| {
        format!("{what} is not known here; known are {}", known.join(", "))
    };
    match error {
        Error::SerdeUnknownField { expected, .. } => known("this key", expected),
        Error::SerdeUnknownVariant { expected, .. } => known("this value", expected),
        Error::SerdeMissingField { field, .. } => format!("{field} is missing"),
        Error::SerdeInvalidType { .. } | Error::SerdeInvalidValue { .. } => {
            "this value is of the wrong kind".to_owned()
        }
        Error::DuplicateMappingKey { .. } => "this key is there twice".to_owned(),
        _ => "this is not YAML, or not what belongs here".to_owned(),
    }
}

/// A place in the file, for behind its name.
fn at(place: Option<(u64, u64)>) -> String {
    place.map(|(line, column)| format!(", line {line}, column {column}")).unwrap_or_default()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| fs::metadata(file).ok().map(Stamp::from)).collect()
}

impl From<Metadata> for Stamp {
    fn from(metadata: Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
            length: metadata.len(),
        }
    }
}

#[cfg(test)]
mod tests;
