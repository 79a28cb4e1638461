//! `cargo xtask fuzz`: every target of `fuzz/` for a bounded time.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wzp_testbed::binaries::target_directory;

use crate::project::{cargo, succeeds};
use crate::setup;
use crate::step::Steps;

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,

    /// Only these targets.
    targets: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_building()?;
    if !succeeds(cargo(&["fuzz", "--version"])) {
        bail!("cargo-fuzz is missing. To install it:\n\n    cargo install --locked cargo-fuzz\n");
    }
    let targets = if options.targets.is_empty() { all_targets()? } else { options.targets.clone() };
    ensure!(!targets.is_empty(), "fuzz/Cargo.toml has no targets");
    let mut steps = Steps::default();
    for target in &targets {
        // New input goes to the first folder; the seeds in the second stay as
        // they are.
        let found = target_directory().join("fuzz-corpus").join(target);
        std::fs::create_dir_all(&found)
            .with_context(|| format!("cannot make {}", found.display()))?;
        let time = format!("-max_total_time={}", options.seconds);
        let mut command = fuzz(&["run", target]);
        command.arg(found).arg(format!("fuzz/corpus/{target}")).args([
            "--",
            &time,
            "-print_final_stats=1",
        ]);
        let extent = format!("{} s, and minutes to build it the first time", options.seconds);
        steps.run_long(target, &extent, command)?;
    }
    steps.print();
    println!("  no target found a fault");
    Ok(())
}

fn all_targets() -> Result<Vec<String>> {
    let output = fuzz(&["list"]).output().context("cannot start cargo fuzz")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo fuzz list: {}", reason.trim());
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// The sanitizers are not stable, but the stable compiler has them; the
/// variable lets it use them, so no second toolchain is needed.
fn fuzz(arguments: &[&str]) -> Command {
    let mut command = cargo(&[&["fuzz"], arguments].concat());
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}
