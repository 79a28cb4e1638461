//! `cargo xtask deb`: the Debian package, and whether it installs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::project::{cargo, root};
use crate::setup;
use crate::step::Steps;

/// How to build it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also install it, start the relay, upgrade, remove and purge, in a view of
    /// this system whose changes go nowhere; as root
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::for_packaging()?;
    let mut steps = Steps::default();
    let folder = root().join("target/debian");
    let package = build(&mut steps, &folder, "1")?;
    if options.check {
        let next = build(&mut steps, &folder.join("next"), "2")?;
        let mut check = Command::new("sh");
        check.arg(root().join("xtask/src/deb/check.sh")).args([&package, &next]);
        steps.run("install, upgrade, remove, purge", check)?;
    }
    steps.print();
    println!("\n{}", package.display());
    Ok(())
}

/// A package of that revision, alone in its folder.
fn build(steps: &mut Steps, folder: &Path, revision: &str) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let package = folder.join(format!("wzp-relay_{version}-{revision}.deb"));
    std::fs::create_dir_all(folder)?;
    let mut command = cargo(&["deb", "--locked", "--package", "wzp-relay"]);
    command.args(["--deb-revision", revision, "--output"]).arg(&package);
    steps.run("package", command)?;
    ensure!(package.is_file(), "cargo-deb wrote no {}", package.display());
    Ok(package)
}
