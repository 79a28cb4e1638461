//! The project's commands: `cargo xtask run`, `test`, `setup` and `fuzz`.

mod fuzz;
mod prerequisites;
mod project;
mod run;
mod setup;
mod step;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's commands. `run` shows the relay at work; `test` is everything
/// that must pass before a change is accepted.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the release, start a relay and let one client hear another
    /// through it.
    Run(run::Options),
    /// Formatting, lints, documentation, licences and all tests.
    Test,
    /// Install what the other commands need, or name it.
    Setup,
    /// Feed random input to every parser that reads from the network.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Test => test::run(),
        Command::Setup => setup::run(),
        Command::Fuzz(options) => fuzz::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
