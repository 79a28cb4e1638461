//! `wzp-relay config`: what an operator asks about settings.

use std::io::Write;

use clap::Subcommand;
use tracing::Level;

use crate::check;
use crate::config::document;
use crate::config::key::{schema, sections};
use crate::config::setting::keys;
use crate::config::{ConfigError, Flags, Loaded, Problem};
use crate::output;

/// What can be asked.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell whether a relay would start with these settings, here and as this user:
    /// exit code 0 or 1. Opens, binds and reads what a start does, and lets it go again
    Check {
        /// Warnings are errors
        #[arg(long)]
        strict: bool,
        /// Judge the settings alone, as for another host: try no file, address, interface
        /// or name
        #[arg(long)]
        settings_only: bool,
    },
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
    pub fn run(self, flags: &Flags, out: &mut impl Write) -> anyhow::Result<()> {
        let sections = sections();
        match self {
            Self::Check { strict, settings_only } => {
                let loaded = Loaded::new(flags)?;
                judge(&loaded, strict, settings_only)?;
                let (set, all) = (loaded.keys_set(), keys(&sections).count());
                let are = if set == 1 { "is" } else { "are" };
                writeln!(out, "OK: {set} of {all} keys {are} set")?;
            }
            Self::Show { origin } => {
                let text = document::effective(&Loaded::new(flags)?, &sections, origin)?;
                out.write_all(text.as_bytes())?;
            }
            Self::Schema => writeln!(out, "{:#}", schema())?,
            Self::Reference => out.write_all(document::reference(&sections)?.as_bytes())?,
            Self::Example => out.write_all(document::example(&sections)?.as_bytes())?,
        }
        Ok(out.flush()?)
    }
}

/// Warns, a line each, and fails with all that is wrong.
fn judge(loaded: &Loaded, strict: bool, settings_only: bool) -> anyhow::Result<()> {
    let text = |text: &String| Problem { keys: Vec::new(), text: text.clone() };
    let mut warnings: Vec<_> = loaded.warnings.iter().map(text).collect();
    warnings.extend(loaded.open().into_iter().map(|open| loaded.located(open)));
    let mut errors = Vec::new();
    if !settings_only {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = runtime.block_on(check::examine(&loaded.config));
        errors.extend(found.errors.into_iter().map(|error| loaded.located(error)));
        let found_warnings = found.validity.into_iter().chain(found.unwritable);
        let found_warnings = found_warnings.chain(found.warnings);
        warnings.extend(found_warnings.map(|warning| loaded.located(warning)));
        if let Some(note) = found.note {
            output::tell(Level::INFO, &format!("note: {note}"));
        }
    }
    if strict {
        errors.append(&mut warnings);
    }
    for warning in warnings {
        output::tell(Level::WARN, &format!("warning: {warning}"));
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigError::Problems(errors).into()) }
}
