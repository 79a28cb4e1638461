//! Why a call did not go as it should, in words for the person who reads them.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use wzp_command::arguments::TokenError;
pub(crate) use wzp_command::exit::Exit;
use wzp_media::recording::RecordingError;
use wzp_media::source::{Damage, SourceError};
use wzp_transport::join::JoinError;

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
    /// There is no token to show.
    #[error(transparent)]
    Token(TokenError),
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
            Self::Token(error) => error.exit(),
            Self::Source(_)
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
