//! `cargo xtask deb`: the Debian packages, and whether they install.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::man::{self, PROGRAMS};
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
    man::write(&mut steps)?;
    let folder = root().join("target/debian");
    let packages = build(&mut steps, &folder, "1")?;
    if options.check {
        let next = build(&mut steps, &folder.join("next"), "2")?;
        let mut check = Command::new("sh");
        check.arg(root().join("xtask/src/deb/check.sh"));
        let [relay, client] = &packages;
        check.args([&relay.package, &next[0].package, &client.package, &relay.symbols]);
        steps.run("install, upgrade, remove, purge", check)?;
    }
    steps.print();
    println!();
    for Package { package, symbols } in &packages {
        println!("{}\n{}", package.display(), symbols.display());
    }
    Ok(())
}

/// A package, and the one with its debug symbols.
struct Package {
    package: PathBuf,
    symbols: PathBuf,
}

/// A package of each program, of that revision and of the binaries that were built before;
/// alone in their folder.
fn build(steps: &mut Steps, folder: &Path, revision: &str) -> Result<[Package; 2]> {
    std::fs::create_dir_all(folder)?;
    for file in packages(folder)? {
        std::fs::remove_file(file)?;
    }
    for program in PROGRAMS {
        let mut command = cargo(&["deb", "--locked", "--no-build", "--dbgsym"]);
        command.args(["--package", program, "--deb-revision", revision, "--output"]).arg(folder);
        steps.run(&format!("package of {program}"), command)?;
    }
    let found = packages(folder)?;
    let of = |start: String, end: &str| {
        let is_it = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&start) && name.ends_with(end)
        };
        let file = found.iter().find(is_it).cloned();
        ensure!(file.is_some(), "cargo-deb wrote no {start}…{end} to {}", folder.display());
        Ok(file.unwrap_or_default())
    };
    let package = |program: &str| {
        Ok::<_, anyhow::Error>(Package {
            package: of(format!("{program}_"), ".deb")?,
            symbols: of(format!("{program}-dbgsym_"), ".ddeb")?,
        })
    };
    Ok([package(PROGRAMS[0])?, package(PROGRAMS[1])?])
}

/// All that are in the folder.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let is_package =
        |file: &PathBuf| file.extension().is_some_and(|end| end == "deb" || end == "ddeb");
    Ok(files.collect::<Result<Vec<_>, _>>()?.into_iter().filter(is_package).collect())
}
