//! Why a load did not go as it should.

use std::io;

use thiserror::Error;
use wzp_command::arguments::TokenError;
use wzp_command::exit::Exit;
use wzp_transport::join::JoinError;

/// What went wrong, in words for the person who started it.
#[derive(Debug, Error)]
pub enum LoadFailure {
    /// The first room was not entered.
    #[error("cannot join room '{room}' at {relay}: {source}")]
    Join {
        /// The first room.
        room: String,
        /// The relay, as it was given.
        relay: String,
        /// What was in the way.
        source: Box<JoinError>,
    },
    /// There is no token to show.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The operating system refuses something basic.
    #[error("cannot {what}: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// What was in the way.
        source: io::Error,
    },
    /// Options that do not go together, or not with that relay.
    #[error("{0}")]
    Usage(String),
    /// Each session has a socket, and each socket a file descriptor.
    #[error(
        "{sessions} sessions need {needed} file descriptors, and this process may have {limit}; \
         raise the hard limit (see `ulimit -Hn`; LimitNOFILE= in systemd) or use several processes"
    )]
    Descriptors {
        /// Sessions in all.
        sessions: u64,
        /// Descriptors that they take.
        needed: u64,
        /// Descriptors that the system allows.
        limit: u64,
    },
    /// Said only if the thread itself does not say why.
    #[error("a thread of the load ended before its time")]
    ThreadEnded,
    /// Sessions that were never there.
    #[error("{failed} of {sessions} sessions did not join: {reasons}")]
    NotAllJoined {
        /// Sessions that failed.
        failed: u64,
        /// Sessions in all.
        sessions: u64,
        /// The reasons, and how often each.
        reasons: String,
        /// The exit code of the most frequent reason.
        exit: Exit,
    },
    /// Sessions that ended too early.
    #[error("{lost} of {sessions} sessions were lost: {reasons}")]
    SessionsLost {
        /// Sessions that were lost.
        lost: u64,
        /// Sessions in all.
        sessions: u64,
        /// The reasons, and how often each.
        reasons: String,
    },
}

impl LoadFailure {
    /// The exit code that stands for this failure.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Join { source, .. } => Exit::of(source),
            Self::Token(error) => error.exit(),
            Self::Usage(_) => Exit::Usage,
            Self::System { .. } | Self::Descriptors { .. } | Self::ThreadEnded => Exit::Local,
            Self::NotAllJoined { exit, .. } => *exit,
            Self::SessionsLost { .. } => Exit::Lost,
        }
    }
}

/// What was to be done, for an error of the system.
pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> LoadFailure {
    move |source| LoadFailure::System { what, source }
}
