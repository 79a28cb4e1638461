//! How the program ends: the exit codes scripts can rely on, and the failures
//! behind them in words for the person who reads them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use thiserror::Error;
use wzp_media::recording::RecordingError;
use wzp_media::source::{Damage, SourceError};
use wzp_proto::close::CloseCode;
use wzp_proto::control::Invalid;
use wzp_transport::join::{Ended, JoinError};

/// Declares the exit codes once: number and meaning, as `--help` prints it.
macro_rules! exits {
    ($($variant:ident = $number:literal, $meaning:literal;)+) => {
        /// The exit codes. Numbers never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Exit {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Exit {
            /// The end of `--help`.
            pub(crate) const HELP: &str =
                concat!("Exit codes:\n", $("  ", $number, "  ", $meaning, "\n",)+);
        }
    };
}

exits! {
    Done = 0, "done what was asked, or ended by SIGINT, SIGTERM or SIGHUP";
    Usage = 2, "wrong usage";
    Connect = 3, "cannot connect: unknown host, no answer, connection refused";
    Identity = 4, "the relay's identity is not accepted: other pin, or not trusted";
    Refused = 5, "refused by the relay: room or server full, draining, malformed, nobody can check the token";
    Lost = 6, "the session was lost in the middle, and not had again within --reconnect-for, or what was said last did not arrive";
    Local = 7, "a file, standard output or a sound device of this machine does not work, or the file that was sent is damaged";
    MembersMissing = 8, "waited in vain for the members of --wait-for";
    Token = 9, "the token is missing, wrong, over, or not for this room";
    Kicked = 10, "an operator of the relay ended the session";
    Replaced = 11, "another session of the same user or address took this one's place";
    Version = 12, "the other side does not speak this version of the protocol";
}

impl Exit {
    /// The exit code of a room that was not entered, or not again.
    pub(crate) const fn of(error: &JoinError) -> Self {
        match error {
            JoinError::Trust(_) | JoinError::Ended(Ended::PinMismatch | Ended::Untrusted(_)) => {
                Self::Identity
            }
            JoinError::Ended(Ended::Closed {
                code: CloseCode::BadToken | CloseCode::TokenExpired | CloseCode::NotAllowed,
                ..
            }) => Self::Token,
            JoinError::Ended(Ended::Closed { code: CloseCode::Kicked, .. }) => Self::Kicked,
            JoinError::Ended(Ended::Closed { code: CloseCode::Replaced, .. }) => Self::Replaced,
            JoinError::Ended(Ended::Closed { .. }) => Self::Refused,
            JoinError::Ended(Ended::WrongProtocol) => Self::Version,
            _ => Self::Connect,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// Why the client did not do what it was asked to.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The room was not entered.
    #[error("cannot join room '{room}' at {relay}: {source}")]
    Join { room: String, relay: String, source: Box<JoinError> },
    /// A signal came before the relay's welcome.
    #[error("interrupted before joining {0}; nothing was sent or recorded")]
    Interrupted(String),
    /// The session ended without this side's wish.
    #[error("lost the session with {relay} after {:.1} s: {source}", after.as_secs_f64())]
    Lost { relay: String, after: Duration, source: Box<JoinError> },
    /// It ended so, and there was no way back.
    #[error("{lost}; in vain tried to join again for {:.0} s: {last}", tried.as_secs_f64())]
    GivenUp { lost: String, tried: Duration, last: String },
    /// The relay stopped before everything was done.
    #[error(
        "left {relay} after {:.1} s because it is stopping; join another relay for the rest",
        after.as_secs_f64()
    )]
    Drained { relay: String, after: Duration },
    /// Fewer members than `--wait-for` names came in time.
    #[error(
        "{present} of {wanted} other members were in the room after {:.1} s; \
         start them first or raise --wait-timeout",
        waited.as_secs_f64()
    )]
    MembersMissing { wanted: u16, present: usize, waited: Duration },
    /// What was given is no token.
    #[error("--token or WZP_TOKEN: {reason}")]
    NoToken { reason: Invalid },
    /// There is no token in the file.
    #[error("cannot read the token from '{}': {reason}", path.display())]
    Token { path: PathBuf, reason: String },
    /// A file cannot be sent.
    #[error("cannot send the sound: {0}")]
    Source(SourceError),
    /// A file was sent, but for some of it.
    #[error("the sound is damaged: {name} is {}; all else of it was sent", places(.damages))]
    Damaged { name: String, damages: Vec<Damage> },
    /// Nobody types sound.
    #[error(
        "cannot send standard input: it is a terminal; write a sound file to it, as in `ffmpeg … -f wav - | wzp-client … --send-file -`"
    )]
    SourceIsTerminal,
    /// A recording cannot be begun.
    #[error("{0}; --record takes a file in a directory that exists and can be written to")]
    Recording(RecordingError),
    /// A recording cannot go on.
    #[error("{0}; what was heard before is kept")]
    RecordingStopped(RecordingError),
    /// A recording was not taken.
    #[error(
        "the recording is not complete: the disk, or whoever reads from the pipe, has not taken \
         the rest of it within {} s",
        .0.as_secs()
    )]
    RecordingStalled(Duration),
    /// The recording would replace what is to be sent.
    #[error(
        "cannot record to '{}': it is the file to be sent; choose another name",
        .0.display()
    )]
    RecordingOverSource(PathBuf),
    /// The codec library refuses to work.
    #[error("the Opus codec cannot be set up: {0}")]
    Codec(String),
    /// No microphone or speaker.
    #[error("{0}")]
    SoundCard(String),
    /// The operating system refuses something basic.
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: std::io::Error },
}

/// The first of them, and how many there are.
pub(crate) fn places(damages: &[Damage]) -> String {
    const NAMED: usize = 5;
    let named: Vec<_> = damages.iter().take(NAMED).map(Damage::to_string).collect();
    match damages.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{}, and at {more} places more", named.join(", ")),
    }
}

impl Failure {
    /// The exit code that stands for this failure.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Join { source, .. } => Exit::of(source),
            Self::Interrupted(_) => Exit::Connect,
            Self::Lost { source, .. } => match Exit::of(source) {
                exit @ (Exit::Token | Exit::Identity | Exit::Kicked | Exit::Replaced) => exit,
                _ => Exit::Lost,
            },
            Self::Drained { .. } | Self::GivenUp { .. } => Exit::Lost,
            Self::MembersMissing { .. } => Exit::MembersMissing,
            Self::NoToken { .. } => Exit::Usage,
            Self::Token { .. }
            | Self::Source(_)
            | Self::Damaged { .. }
            | Self::SourceIsTerminal
            | Self::Recording(_)
            | Self::RecordingStopped(_)
            | Self::RecordingStalled(_)
            | Self::RecordingOverSource(_)
            | Self::Codec(_)
            | Self::SoundCard(_)
            | Self::System { .. } => Exit::Local,
        }
    }
}
