//! Why a load did not go as it should.

use thiserror::Error;

use crate::exit::{Exit, Failure};

/// What went wrong, in words for the person who started it.
#[derive(Debug, Error)]
pub(crate) enum LoadFailure {
    /// What can happen to a single client, too.
    #[error(transparent)]
    Client(#[from] Failure),
    /// Options that do not go together, or not with that relay.
    #[error("{0}")]
    Usage(String),
    /// Each session has a socket, and each socket a file descriptor.
    #[error(
        "{sessions} sessions need {needed} file descriptors, and this process may have {limit}; \
         raise the hard limit (see `ulimit -Hn`; LimitNOFILE= in systemd) or use several processes"
    )]
    Descriptors { sessions: u64, needed: u64, limit: u64 },
    /// Said only if the thread itself does not say why.
    #[error("a thread of the load ended before its time")]
    ThreadEnded,
    /// Sessions that were never there.
    #[error("{failed} of {sessions} sessions did not join: {reasons}")]
    NotAllJoined { failed: u64, sessions: u64, reasons: String, exit: Exit },
    /// Sessions that ended too early.
    #[error("{lost} of {sessions} sessions were lost: {reasons}")]
    SessionsLost { lost: u64, sessions: u64, reasons: String },
}

impl LoadFailure {
    /// The exit code that stands for this failure.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Client(failure) => failure.exit(),
            Self::Usage(_) => Exit::Usage,
            Self::Descriptors { .. } | Self::ThreadEnded => Exit::Local,
            Self::NotAllJoined { exit, .. } => *exit,
            Self::SessionsLost { .. } => Exit::Lost,
        }
    }
}
