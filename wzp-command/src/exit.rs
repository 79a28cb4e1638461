//! The exit codes that scripts can rely on.

use std::process::ExitCode;

use wzp_proto::close::CloseCode;
use wzp_transport::join::{Ended, JoinError};

/// Declares the exit codes once: number and meaning, as `--help` prints it.
macro_rules! exits {
    ($($variant:ident = $number:literal, $meaning:literal;)+) => {
        /// The exit codes. Numbers never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Exit {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl Exit {
            /// The end of `--help`.
            pub const HELP: &str =
                concat!("Exit codes:\n", $("  ", $number, "  ", $meaning, "\n",)+);
        }
    };
}

exits! {
    Done = 0, "done what was asked, or ended by SIGINT, SIGTERM or SIGHUP";
    Usage = 2, "wrong usage";
    Connect = 3, "cannot connect: unknown host, no answer, or nothing listens on the port";
    Identity = 4, "the relay's identity is not accepted: other pin, or not trusted";
    Refused = 5, "refused by the relay: room or relay full, too many connections from this address, draining, malformed, nobody can check the token";
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
    pub const fn of(error: &JoinError) -> Self {
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
            JoinError::Ended(Ended::Closed { .. } | Ended::Refused) => Self::Refused,
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
