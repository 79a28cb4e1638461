//! The command line: a relay, or one of the commands beside it.

mod config;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::admin::ctl;
use crate::build_info;
use crate::config::Flags;
use crate::doctor;
pub use config::ConfigCommand;

/// Media relay for voice over QUIC: participants join a room and the relay
/// forwards each one's voice to all others.
#[derive(Debug, Default, Parser)]
#[command(
    version,
    long_version = build_info::long_version(),
    after_help = "\
Signals: SIGTERM and SIGINT drain (nobody new, sessions may end until the drain \
time-out) and exit with code 0; a second one exits at once. SIGHUP reads \
configuration, certificate and keys again, unless it was ignored at the start (nohup).

Exit codes: 0 ended as asked, 1 could not start or failed, 2 wrong usage."
)]
pub struct Cli {
    /// Without a command a relay is started.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What it sets of the configuration.
    #[command(flatten)]
    pub flags: Flags,
}

/// What can be done beside running a relay.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Look at a relay that runs, and have it do things
    #[command(after_help = ctl::HELP)]
    Ctl {
        /// What to do
        #[command(subcommand)]
        command: ctl::Command,
    },
    /// Tell whether this host is fit for a relay with these settings, and what mends it:
    /// exit code 0 unless something is wrong. Asks the servers that the settings name
    Doctor(doctor::Options),
    /// Check, show and explain the configuration; needs no relay that runs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The log of who did what
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// What can be done with an audit log, whether or not a relay runs.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no record was changed, deleted, added or moved
    Verify {
        /// The files, the oldest first; without any the relay's own
        files: Vec<PathBuf>,
    },
}

impl Cli {
    /// The command line of this program, without the environment. Ends it with a
    /// sentence if that is wrong, and with an explanation if that is wanted.
    pub fn read() -> Self {
        Self::parse(std::env::args_os()).unwrap_or_else(|error| {
            if error.kind() == ErrorKind::DisplayHelp {
                // This one names the variables.
                Self::command().mut_args(|argument| argument.hide_env_values(true)).get_matches();
            }
            error.exit()
        })
    }

    /// Reads the arguments alone: the environment is a layer of the configuration.
    fn parse<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        let command = Self::command().mut_args(|argument| argument.env(Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }
}
