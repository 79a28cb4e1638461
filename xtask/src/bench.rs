//! `cargo xtask bench`: builds what is measured, and `wzp-bench`, which measures it.

use std::ffi::OsString;

use anyhow::Result;

use crate::project::cargo;
use crate::setup;
use crate::step::{RELEASE, Steps};

/// What can be measured.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Forwarding: the relay, a naive relay and any other, under the same load.
    #[command(disable_help_flag = true)]
    Forward(Forward),
    /// What the kernel programs cost, per packet and per read of the counters.
    Ebpf,
}

/// What `cargo xtask bench forward` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Forward {
    /// Which experiment, how often and how long; `--help` tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

impl Forward {
    fn asks_for_help(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--help" || argument == "-h")
    }
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Forward(options) => forward(options),
        Command::Ebpf => crate::ebpf::bench(),
    }
}

fn forward(options: &Forward) -> Result<()> {
    setup::for_building()?;
    let mut steps = Steps::default();
    if !options.asks_for_help() {
        build(&mut steps)?;
    }
    let bench = ["run", "--release", "--locked", "--package", "wzp-bench", "--", "forward"];
    let mut bench = cargo(&bench);
    bench.args(&options.arguments);
    steps.run("bench", bench)
}

/// What is measured is what is shipped: the programs are built as a release is,
/// the naive relay apart from them, because it wants more of tokio.
fn build(steps: &mut Steps) -> Result<()> {
    let arguments = ["build", "--release", "--locked"];
    let shipped = ["--package", "wzp-relay", "--package", "wzp-client"];
    steps.run_long("build", RELEASE, cargo(&[&arguments[..], &shipped].concat()))?;
    let naive = ["--package", "wzp-testbed", "--example", "naive_relay"];
    steps.run("build the naive relay", cargo(&[&arguments[..], &naive].concat()))
}
