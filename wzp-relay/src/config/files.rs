//! Files that the settings name: each is for one thing, as far as it is written to.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wzp_telemetry::http::WebConfig;
use wzp_telemetry::{audit, links, log};
use wzp_transport::identity::{IDENTITY_FILE, NEW_IDENTITY_FILE};

use super::problem::Complaint;
use super::{AuthMode, Config};
use crate::paths::AUDIT_FILE;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It is only read.
    Read,
    /// The log.
    Log,
    /// The audit log.
    Audit,
    /// Something in the state directory.
    State,
    /// The state directory.
    Folder,
}

/// A file and what it is for.
struct Use {
    /// Empty: the configuration file.
    key: &'static str,
    purpose: Purpose,
    named: PathBuf,
    file: Identity,
    /// Where it is without links.
    at: PathBuf,
}

/// What tells files apart.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// One that exists: its device and number.
    Inode(u64, u64),
    /// Where it would be made.
    At(PathBuf),
}

impl Use {
    fn new(key: &'static str, purpose: Purpose, path: &Path) -> Self {
        let at = links::resolve(path);
        let file = match fs::metadata(path) {
            Ok(found) => Identity::Inode(found.dev(), found.ino()),
            Err(_) => Identity::At(at.clone()),
        };
        Self { key, purpose, named: path.to_owned(), file, at }
    }

    /// Whether it writes, renames or deletes files of that name beside its own.
    fn makes(&self, name: &OsStr) -> bool {
        let own = match self.purpose {
            Purpose::Log => log::is_own(&self.at, name),
            Purpose::Audit => audit::is_own(&self.at, name),
            Purpose::Read | Purpose::State | Purpose::Folder => return false,
        };
        own || is_rotated(&self.at, name)
    }
}

/// What is wrong with the files of these settings, which `file` is that of.
pub(crate) fn check(config: &Config, file: Option<&Path>) -> Vec<Complaint> {
    let mut found: Vec<_> = paths(config).filter_map(|(key, path)| nameless(key, path)).collect();
    found.extend(streams(config));
    if found.is_empty() {
        let uses = uses(config, file);
        let pairs = uses
            .iter()
            .enumerate()
            .flat_map(|(at, one)| uses[at + 1..].iter().map(move |other| (one, other)));
        for complaint in pairs.filter_map(|(one, other)| clash(one, other)) {
            // What holds for a folder holds for all that is in it.
            if found.iter().all(|known| known.keys != complaint.keys) {
                found.push(complaint);
            }
        }
    }
    found
}

/// All keys that are paths, but `relay.state_dir`.
fn paths(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    let Config { relay, metrics, logging, tracing, audit, auth, .. } = config;
    let single = [
        ("relay.cert", &relay.cert),
        ("relay.key", &relay.key),
        ("metrics.web_config", &metrics.web_config),
        ("logging.file", &logging.file),
        ("tracing.ca_file", &tracing.ca_file),
        ("audit.file", &audit.file),
        ("auth.jwt.jwks_file", &auth.jwt.jwks_file),
    ];
    let lists = [
        ("auth.jwt.secret_files", &auth.jwt.secret_files),
        ("auth.jwt.public_key_files", &auth.jwt.public_key_files),
    ];
    let single = single.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
    let lists = lists
        .into_iter()
        .flat_map(|(key, paths)| paths.iter().map(move |path| (key, path.as_path())));
    single.chain(lists)
}

fn nameless(key: &'static str, path: &Path) -> Option<Complaint> {
    let is_empty = path.as_os_str().is_empty();
    is_empty.then(|| Complaint::new([key], "the name of a file is empty; leave it out"))
}

/// What a name under /dev or /proc means depends on how a program was started.
fn streams(config: &Config) -> impl Iterator<Item = Complaint> {
    let written = [("logging.file", &config.logging.file), ("audit.file", &config.audit.file)];
    let of_process = |path: &&Path| {
        ["/dev/std", "/dev/fd/", "/proc/self/", "/proc/thread-self/"]
            .iter()
            .any(|start| path.as_os_str().as_encoded_bytes().starts_with(start.as_bytes()))
    };
    written.into_iter().filter_map(move |(key, path)| {
        let path = path.as_deref().filter(of_process)?;
        let text = format!(
            "{} is not a regular file; without logging.file, the log goes to standard error",
            path.display()
        );
        Some(Complaint::new([key], text))
    })
}

/// The files that a relay with these settings uses.
fn uses(config: &Config, file: Option<&Path>) -> Vec<Use> {
    let state_dir = &config.relay.state_dir;
    let mut uses: Vec<_> = file.map(|file| Use::new("", Purpose::Read, file)).into_iter().collect();
    for (key, path) in paths(config) {
        let purpose = match key {
            "logging.file" => Purpose::Log,
            "audit.file" if config.audit.enabled => Purpose::Audit,
            "metrics.web_config" if config.metrics.enabled => {
                let files = WebConfig::load(path).map(|web| web.files()).unwrap_or_default();
                uses.extend(files.iter().skip(1).map(|file| Use::new(key, Purpose::Read, file)));
                Purpose::Read
            }
            "relay.cert" | "relay.key" => Purpose::Read,
            "tracing.ca_file" if config.tracing.enabled => Purpose::Read,
            _ if key.starts_with("auth.jwt.") && config.auth.mode == AuthMode::Jwt => Purpose::Read,
            _ => continue,
        };
        uses.push(Use::new(key, purpose, path));
    }
    uses.push(Use::new("relay.state_dir", Purpose::Folder, state_dir));
    let mut state = |purpose, name: &str| {
        uses.push(Use::new("relay.state_dir", purpose, &state_dir.join(name)));
    };
    state(Purpose::State, crate::paths::ADMIN_SOCKET);
    if config.relay.cert.is_none() {
        state(Purpose::State, IDENTITY_FILE);
        state(Purpose::State, NEW_IDENTITY_FILE);
    }
    if config.audit.enabled && config.audit.file.is_none() {
        state(Purpose::Audit, AUDIT_FILE);
    }
    uses
}

/// Why two files cannot both be used as they are meant.
fn clash(one: &Use, other: &Use) -> Option<Complaint> {
    let only_read = [one, other].iter().all(|file| file.purpose == Purpose::Read);
    if only_read || one.key == other.key {
        return None;
    }
    let is_made = |by: &Use, file: &Use| {
        by.at.parent() == file.at.parent() && file.at.file_name().is_some_and(|name| by.makes(name))
    };
    let is_below = |upper: &Use, file: &Use| {
        upper.purpose != Purpose::Folder && upper.at != file.at && file.at.starts_with(&upper.at)
    };
    let made = |by: &Use, file: &Use| {
        format!(
            "{} is a name that is given to files beside {}, when they are put aside, or to lock \
             them; choose another one",
            file.named.display(),
            by.named.display()
        )
    };
    let below = |upper: &Use, file: &Use| {
        format!(
            "{} would have to be a folder for {}; choose another name",
            upper.named.display(),
            file.named.display()
        )
    };
    let (named, also) = (one.named.display(), other.named.display());
    let text = if one.key.is_empty() && one.file == other.file {
        format!("{also} is the configuration file itself; choose another one")
    } else if one.file == other.file && one.named == other.named {
        format!("both are {named}; give each one of its own")
    } else if one.file == other.file {
        format!("{named} and {also} are the same; give each one of its own")
    } else if is_made(one, other) {
        made(one, other)
    } else if is_made(other, one) {
        made(other, one)
    } else if is_below(one, other) {
        below(one, other)
    } else if is_below(other, one) {
        below(other, one)
    } else {
        return None;
    };
    let keys = [one.key, other.key].into_iter().filter(|key| !key.is_empty()).collect();
    Some(Complaint { keys, text, command: None })
}

/// Whether others that put log files aside, as logrotate does, give that name to `log`:
/// `relay.log.1`, `relay.log-20261201.gz`.
fn is_rotated(log: &Path, name: &OsStr) -> bool {
    let (Some(log), Some(name)) = (log.file_name().and_then(OsStr::to_str), name.to_str()) else {
        return false;
    };
    let Some(rest) = name.strip_prefix(log).and_then(|rest| rest.strip_prefix(['.', '-'])) else {
        return false;
    };
    let end = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    end.len() < rest.len() && ["", ".gz", ".bz2", ".xz", ".zst"].contains(&end)
}
