//! One command of a longer sequence: announced, timed, and when it fails named
//! together with what repeats it.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a release of the programs takes to build, on two cores.
pub(crate) const RELEASE: &str = "about 10 minutes and 1 GB of disk the first time";

/// The steps done so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs `command` with its output shown.
    ///
    /// # Errors
    /// It cannot be started or fails.
    pub(crate) fn run(&mut self, name: &str, command: Command) -> Result<()> {
        self.announced(name, "", command)
    }

    /// [`Self::run`] for a step that may take minutes; `extent` says how many.
    ///
    /// # Errors
    /// Those of [`Self::run`].
    pub(crate) fn run_long(&mut self, name: &str, extent: &str, command: Command) -> Result<()> {
        self.announced(name, &format!("\n    {extent}"), command)
    }

    fn announced(&mut self, name: &str, remark: &str, mut command: Command) -> Result<()> {
        let line = command_line(&command);
        println!("\n==> {name}: {line}{remark}");
        let start = Instant::now();
        let status = command.status().with_context(|| format!("cannot start {line}"))?;
        let took = start.elapsed();
        if !status.success() {
            bail!(
                "step '{name}' failed after {} ({status}). To repeat it alone:\n\n    {line}\n",
                seconds(took)
            );
        }
        self.done.push((name.to_owned(), took));
        Ok(())
    }

    /// A table of the steps and how long each took.
    pub(crate) fn print(&self) {
        println!();
        for (name, took) in &self.done {
            println!("  {name:<24} {:>8}", seconds(*took));
        }
        let total = self.done.iter().map(|(_, took)| *took).sum();
        println!("  {:<24} {:>8}", "all steps", seconds(total));
    }
}

/// The command as one types it into a shell.
pub(crate) fn command_line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))));
    // Cargo may have been found under its full path.
    let program = std::path::Path::new(command.get_program());
    let program =
        program.file_name().filter(|name| *name == "cargo").unwrap_or(program.as_os_str());
    let words = std::iter::once(program).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// The word as one types it into a shell.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted() {
        let mut command = Command::new("/some/where/bin/cargo");
        command.args(["doc", "two words", "it's", ""]).env("RUSTDOCFLAGS", "-D warnings");
        let expected = r"RUSTDOCFLAGS='-D warnings' cargo doc 'two words' 'it'\''s' ''";
        assert_eq!(command_line(&command), expected);
    }

    #[test]
    fn a_failure_names_the_step_and_the_command() {
        let mut steps = Steps::default();
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let error = steps.run("shell", command).unwrap_err().to_string();
        assert!(error.contains("'shell'") && error.contains("sh -c 'exit 3'"), "{error}");
        assert!(steps.run("absent", Command::new("/nonexistent/program")).is_err());
    }
}
