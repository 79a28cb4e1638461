//! `wzp-relay config`: what an operator asks about settings.

use std::io::Write;

use clap::Subcommand;

use super::key::{schema, sections};
use super::setting::keys;
use super::{Cli, Loaded, document, system};

/// What can be asked.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell whether a relay would start with these settings: exit code 0 or 1.
    /// What only this host makes wrong is a warning
    Check,
    /// Show the settings in force, as a file; passwords in
    /// URLs are left out
    Show {
        /// Also where each comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema of the file, for editors
    Schema,
    /// Print every key with its type, default and meaning, as Markdown
    Reference,
    /// Print a file with every key, commented out
    Example,
}

impl ConfigCommand {
    /// Answers.
    ///
    /// # Errors
    /// The settings are wrong, or the answer could not be written.
    pub fn run(self, cli: &Cli, out: &mut impl Write) -> anyhow::Result<()> {
        let sections = sections();
        match self {
            Self::Check => {
                let loaded = Loaded::new(cli)?;
                for warning in system::warnings(&loaded.config) {
                    writeln!(out, "warning: {}", loaded.located(warning))?;
                }
                let all = keys(&sections).count();
                writeln!(out, "OK: {} of {all} keys are set", loaded.keys_set())?;
            }
            Self::Show { origin } => {
                let text = document::effective(&Loaded::new(cli)?, &sections, origin)?;
                out.write_all(text.as_bytes())?;
            }
            Self::Schema => writeln!(out, "{:#}", schema())?,
            Self::Reference => out.write_all(document::reference(&sections)?.as_bytes())?,
            Self::Example => out.write_all(document::example(&sections)?.as_bytes())?,
        }
        Ok(())
    }
}
