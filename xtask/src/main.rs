//! The project's commands: `cargo xtask run`, `test`, `bench`, `setup`, `man`, `docs`,
//! `deb`, `fuzz` and `attack`.

mod attack;
mod bench;
mod deb;
mod docs;
mod ebpf;
mod ebpf_needs;
mod ebpf_object;
mod ebpf_rustc;
mod fuzz;
mod man;
mod prerequisites;
mod project;
mod run;
mod setup;
mod step;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wzp_testbed::bound;

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
    /// Write the programs' man pages and completions.
    Man,
    /// Write the parts of pages that come from declarations.
    Docs,
    /// Build the Debian packages, and see whether they install.
    Deb(deb::Options),
    /// Feed random input to every parser that reads from the network.
    Fuzz(fuzz::Options),
    /// Attack a relay of one's own, beside two honest calls.
    Attack(attack::Options),
    /// Build the kernel programs, whose objects are committed.
    BuildEbpf(ebpf::BuildOptions),
    /// Show the kernel programs' instructions between their source.
    Disasm(ebpf::DisasmOptions),
    /// Measure, always against something else in the same run.
    #[command(subcommand)]
    Bench(bench::Command),
    /// The same as `bench ebpf`.
    BenchEbpf,
    /// Become a program that ends with this one's parent.
    #[command(name = bound::COMMAND, hide = true)]
    Bound {
        /// The process to end with.
        parent: i32,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = ebpf_rustc::run() {
        return code;
    }
    let outcome = match Options::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Test => test::run(),
        Command::Setup => setup::run(),
        Command::Man => man::run(),
        Command::Docs => docs::run(),
        Command::Deb(options) => deb::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Attack(options) => attack::run(&options),
        Command::BuildEbpf(options) => ebpf::build(&options),
        Command::Disasm(options) => ebpf::disasm(&options),
        Command::Bench(command) => bench::run(&command),
        Command::BenchEbpf => ebpf::bench(),
        Command::Bound { parent, command } => bound::exec(parent, &command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
