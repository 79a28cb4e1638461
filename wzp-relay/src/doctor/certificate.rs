//! The certificate that clients will see: for how long it is good, and who vouches for it.

use std::path::Path;

use wzp_transport::chain::{ChainError, check_chain};
use wzp_transport::identity::{IDENTITY_FILE, Identity};

use super::report::{Line, Status};

use crate::admin::reload;
use crate::config::Config;
use crate::shell;
use crate::words::date;

const CHECK: &str = "certificate";

/// `problem`: that it is not good, or not for long.
pub(super) fn look(config: &Config, problem: Option<String>) -> Option<Line> {
    let relay = &config.relay;
    // What is wrong with files that cannot be used is told already.
    let found = reload::look_for_identity(relay).ok()?;
    let Some(identity) = found else {
        return Some(Line::ok(CHECK, "a self-signed one is made at the first start"));
    };
    Some(match (problem, &relay.cert) {
        // Who pins it does not look at its dates.
        (Some(problem), None) => Line::warning(CHECK, problem)
            .mended_by(format!("rm {}", shell::path(&relay.state_dir.join(IDENTITY_FILE)))),
        (problem, Some(cert)) => {
            let line = chain(&identity, problem);
            match line.status {
                Status::Ok => line,
                _ => line.mended_by(dates(cert)),
            }
        }
        (None, None) => Line::ok(CHECK, own(&identity)),
    })
}

/// Shows whom each certificate of a file is for and when it is good, for a shell.
fn dates(file: &Path) -> String {
    format!(
        "openssl crl2pkcs7 -nocrl -certfile {} | openssl pkcs7 -print_certs -noout -text | \
         grep -E 'Subject:|Issuer:|Not (Before|After)'",
        shell::path(file)
    )
}

fn own(identity: &Identity) -> String {
    let expires = date(identity.expires());
    format!("self-signed, for clients that pin {}; good until {expires}", identity.fingerprint())
}

fn chain(identity: &Identity, problem: Option<String>) -> Line {
    match (check_chain(identity.chain()), problem) {
        (Ok(_), Some(problem)) => Line::warning(CHECK, problem),
        (Ok(name), None) => {
            let expires = date(identity.expires());
            let text = format!(
                "for {name}, vouched for by an authority that this host trusts; good until \
                 {expires}"
            );
            Line::ok(CHECK, text)
        }
        (Err(error), problem) => broken(identity, error, problem),
    }
}

fn broken(identity: &Identity, error: ChainError, problem: Option<String>) -> Line {
    match error {
        ChainError::Expired | ChainError::NotYet => {
            let text = problem
                .unwrap_or_else(|| "one of its chain has expired, or is not good yet".into());
            Line::error(CHECK, text)
        }
        ChainError::Untrusted => {
            let text = format!(
                "no authority that this host trusts vouches for it, or relay.cert lacks a \
                 certificate in between: clients have to pin {}",
                identity.fingerprint()
            );
            Line::warning(CHECK, text)
        }
        ChainError::Nameless => {
            Line::warning(CHECK, "it has no name of a host, so clients have to pin it")
        }
        ChainError::Other(reason) => Line::warning(CHECK, reason),
    }
}
