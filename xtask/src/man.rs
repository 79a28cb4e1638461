//! `cargo xtask man`: the programs' man pages and completions, in `target/pages`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::project::{cargo, root};
use crate::setup;
use crate::step::{RELEASE, Steps};

/// The programs that users have.
pub(crate) const PROGRAMS: [&str; 2] = ["wzp-relay", "wzp-client"];

pub(crate) fn run() -> Result<()> {
    setup::for_building()?;
    let mut steps = Steps::default();
    let folder = write(&mut steps)?;
    steps.print();
    println!("\n{}", folder.display());
    Ok(())
}

/// Has each program write its own; gives the folder.
pub(crate) fn write(steps: &mut Steps) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "--locked"]);
    build.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    steps.run_long("build", RELEASE, build)?;
    let folder = root().join("target/pages");
    // What a command was called before must not be packed.
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    for program in PROGRAMS {
        let mut pages = Command::new(root().join("target/release").join(program));
        pages.arg("--write-pages").arg(&folder);
        steps.run(&format!("pages of {program}"), pages)?;
    }
    Ok(folder)
}
