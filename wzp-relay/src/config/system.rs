//! What only this host can tell about settings. It may be another one than that
//! of the relay, or another user: so these are warnings.

use std::path::Path;

use rustix::fs::{Access, access};
use wzp_transport::identity::Identity;
use wzp_untrusted::file;

use super::problem::Complaint;
use super::{Config, EbpfMode};
use crate::auth::authenticator::Authenticator;

/// What would keep a relay from starting here, or from doing all that is set.
pub(super) fn warnings(config: &Config) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut warn = |key, result: Result<(), String>| {
        found.extend(result.err().map(|text| Complaint::new([key], text)));
    };
    let relay = &config.relay;
    if let (Some(cert), Some(key)) = (&relay.cert, &relay.key) {
        let identity = Identity::from_files(cert, key);
        warn("relay.cert", identity.map(drop).map_err(|error| error.to_string()));
    }
    warn("relay.state_dir", writable(&relay.state_dir));
    if config.ebpf.mode != EbpfMode::Off {
        for name in &config.ebpf.interfaces {
            warn("ebpf.interfaces", interface(name));
        }
    }
    if let Some(path) = config.metrics.web_config.as_ref().filter(|_| config.metrics.enabled) {
        let read = file::read(path, file::SETTINGS_BYTES);
        warn("metrics.web_config", read.map(drop).map_err(|error| because(path, error)));
    }
    let keys = Authenticator::check_files(&config.auth);
    warn("auth.mode", keys.map_err(|error| error.to_string()));
    if let Some(file) = &config.logging.file {
        warn("logging.file", writable(file.parent().unwrap_or(file)));
    }
    if let Some(file) = config.audit.file.as_ref().filter(|_| config.audit.enabled) {
        warn("audit.file", writable(file.parent().unwrap_or(file)));
    }
    found
}

fn interface(name: &str) -> Result<(), String> {
    let known = nix::net::if_::if_nametoindex(name);
    known.map(drop).map_err(|_| format!("there is no interface {name} here; see `ip link`"))
}

/// Whether files can be made in the folder, or the folder itself.
fn writable(folder: &Path) -> Result<(), String> {
    // A relative path's first ancestor is the empty one: here.
    let there = |path: &&Path| path.as_os_str().is_empty() || path.exists();
    let nearest = match folder.ancestors().find(there) {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => Path::new("."),
    };
    access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| because(folder, error))
}

fn because(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}, for the user who asks", path.display())
}
