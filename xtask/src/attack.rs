//! `cargo xtask attack`: what attacks on the relay cost others.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wzp_testbed::binaries::target_directory;

use crate::project::cargo;
use crate::setup;
use crate::step::{RELEASE, Steps};

/// What `cargo xtask attack` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which attacks, and for how long; `--help` behind `--` tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_building()?;
    let mut steps = Steps::default();
    let programs = ["-p", "wzp-relay", "-p", "wzp-client", "-p", "wzp-attack"];
    steps.run_long(
        "build",
        RELEASE,
        cargo(&[&["build", "--release", "--locked"][..], &programs].concat()),
    )?;
    let program = target_directory().join("release/wzp-attack");
    let status = Command::new(&program).args(&options.arguments).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(status.success(), "see above");
    Ok(())
}
