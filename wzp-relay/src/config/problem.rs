//! What can be wrong with a configuration, in words for the operator.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A relay that runs would have it after a reload, some of it from before.
    InForce,
    /// A relay that runs keeps the old one: the new one counts after a restart.
    Waiting,
    /// The configuration file.
    File {
        /// The file that the error is about.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::InForce => write!(f, "in force after this reload"),
            Self::Waiting => write!(f, "as it is now, until a restart"),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "command line {name}"),
        }
    }
}

/// What a check has found, of values whose origin it does not know.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// The keys that it is about.
    pub(crate) keys: Vec<&'static str>,
    /// What is wrong and what to do.
    pub(crate) text: String,
    /// What does that, for a shell.
    pub(crate) command: Option<String>,
}

impl Complaint {
    pub(crate) fn new<const N: usize>(keys: [&'static str; N], text: impl Into<String>) -> Self {
        Self { keys: keys.into(), text: text.into(), command: None }
    }

    pub(crate) fn mended_by(self, command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..self }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The keys that it is about, and where their values come from.
    pub keys: Vec<(String, Origin)>,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, origin)) in self.keys.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{key} ({origin})")?;
        }
        let colon = if self.keys.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.text)
    }
}

/// Why the settings are not usable. The text says what, where and what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    Read {
        /// The file that the error is about.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Not TOML. The line itself is not shown, which may have a secret in it.
    #[error("in {}, line {line}, column {column}: {reason}", path.display())]
    Syntax {
        /// The file that the error is about.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What the parser misses there.
        reason: String,
    },
    /// Keys that do not exist, values that are not allowed: all that were found.
    #[error("{}", listed(.0))]
    Problems(Vec<Problem>),
    /// So many that they are not all told: it is probably another file.
    #[error("{}\n  and {more} more", listed(told))]
    TooMany {
        /// The first.
        told: Vec<Problem>,
        /// How many others there are.
        more: usize,
    },
}

/// A problem a line.
fn listed(problems: &[Problem]) -> String {
    match problems {
        [only] => format!("configuration: {only}"),
        many => many
            .iter()
            .fold(format!("configuration: {} things are wrong", many.len()), |text, problem| {
                format!("{text}\n  {problem}")
            }),
    }
}
