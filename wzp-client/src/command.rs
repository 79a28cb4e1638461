//! The command line: a call, or the generator of load.

use clap::error::ErrorKind;
use clap::{Args, Command, CommandFactory, FromArgMatches};
use wzp_load::LoadOptions;

use crate::cli::Options;

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Cli {
    /// Take part in a call; the form without a command.
    Call(Box<Options>),
    /// Load a relay with many sessions.
    Load(Box<LoadOptions>),
}

impl Cli {
    /// Reads the command line.
    pub(crate) fn try_parse() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        if let Some((_, load)) = matches.subcommand() {
            return Ok(Self::Load(Box::new(LoadOptions::from_arg_matches(load)?)));
        }
        let options = Options::from_arg_matches(&matches)?;
        match options.conflict() {
            Some(text) => Err(Self::command().error(ErrorKind::ArgumentConflict, text)),
            None => Ok(Self::Call(Box::new(options))),
        }
    }

    /// The whole of it.
    pub(crate) fn command() -> Command {
        Options::command()
            .long_version(concat!(
                env!("CARGO_PKG_VERSION"),
                "\ncommit ",
                env!("BUILD_COMMIT"),
                "\nfeatures ",
                env!("BUILD_FEATURES")
            ))
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .disable_help_subcommand(true)
            .subcommand(LoadOptions::augment_args(Command::new("load")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for code in [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}: {help}");
        }
    }
}
