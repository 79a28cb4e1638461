//! Arguments that more than one command takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use wzp_proto::control::{Invalid, check_token};
use wzp_transport::fingerprint::Fingerprint;
use wzp_transport::trust::Trust;
use wzp_untrusted::file;

use crate::exit::Exit;

/// Which relays are accepted.
#[derive(Clone, Debug, Args)]
pub struct TrustOptions {
    /// Accept exactly the relay with this certificate fingerprint (SHA-256,
    /// hexadecimal), which the relay prints when it starts. May be given once for
    /// each of several relays.
    #[arg(long, value_name = "FINGERPRINT")]
    pub pin: Vec<Fingerprint>,

    /// Accept any relay: whoever is in between can listen.
    #[arg(long, conflicts_with = "pin")]
    pub insecure: bool,
}

impl TrustOptions {
    /// Which relays are accepted.
    pub fn trust(&self) -> Trust {
        match self.pin.is_empty() {
            false => Trust::PinnedAny(self.pin.clone()),
            true if self.insecure => Trust::Insecure,
            true => Trust::WebPki,
        }
    }
}

/// What proves that a client may join.
#[derive(Clone, Debug, Args)]
pub struct TokenOptions {
    /// The token that the relay asks for. Others on this machine can see it
    /// among the arguments: better give it in the variable, or in a file.
    #[arg(long, value_name = "TOKEN", env = "WZP_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Read the token from this file, whatever else gives one.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl TokenOptions {
    /// The token, or an empty one.
    ///
    /// # Errors
    /// What was given is none, or the file has none.
    pub fn read(&self) -> Result<String, TokenError> {
        let Some(path) = &self.token_file else {
            // Not by clap, whose errors quote what they are about.
            let token = token(self.token.as_deref().unwrap_or_default());
            return token.map_err(|reason| TokenError::Given { reason });
        };
        let failure = |reason: String| TokenError::File { path: path.clone(), reason };
        let text = file::read_text(path, file::KEY_BYTES);
        let text = text.map_err(|error| failure(error.to_string()))?;
        token(text.trim()).map_err(|error| failure(error.to_string()))
    }
}

/// Why there is no token to show.
#[derive(Debug, Error)]
pub enum TokenError {
    /// What was given is none.
    #[error("--token or WZP_TOKEN: {reason}")]
    Given {
        /// What is wrong with it.
        reason: Invalid,
    },
    /// The file has none.
    #[error("cannot read the token from '{}': {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or with what it holds.
        reason: String,
    },
}

impl TokenError {
    /// The exit code that stands for it.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Given { .. } => Exit::Usage,
            Self::File { .. } => Exit::Local,
        }
    }
}

fn token(text: &str) -> Result<String, Invalid> {
    check_token(text).map(|()| text.to_owned())
}

/// A year: long enough for anyone, short enough for every clock.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// A time of up to a year.
///
/// # Errors
/// It is none.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds up to one year, for example 10 or 0.5".to_owned())
}

/// [`seconds`], but not none at all.
///
/// # Errors
/// It is none, or too short.
pub fn some_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("expected more than 0 seconds".to_owned()),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_finite_and_not_negative() {
        let cases = [
            ("0", Some(0)),
            ("2", Some(2_000)),
            ("0.25", Some(250)),
            ("-1", None),
            ("", None),
            ("soon", None),
            ("nan", None),
            ("inf", None),
            ("1e300", None),
        ];
        for (text, expected) in cases {
            let parsed = seconds(text).ok().map(|duration| duration.as_millis());
            assert_eq!(parsed, expected, "{text:?}");
        }
        assert!(some_seconds("0").is_err());
    }
}
