//! `cargo xtask setup`: installs what is missing, or says exactly how to.
//!
//! Installs system packages only as root or where sudo asks for no password.
//! Quick when nothing is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wzp_testbed::python;

use crate::prerequisites::{BUILD, FULL_TEST, PACKAGE, Prerequisite, Source, TEST};
use crate::project::{cargo, root, succeeds};
use crate::step::Steps;

/// Everything that any command needs.
pub(crate) fn run() -> Result<()> {
    let lacking = for_tests()?;
    ensure!(lacking.is_empty(), "not everything is installed; see above");
    println!("everything is installed");
    Ok(())
}

/// What it takes to build the programs.
///
/// # Errors
/// Something is missing and cannot be installed from here.
pub(crate) fn for_building() -> Result<()> {
    install(BUILD.iter());
    require(BUILD.iter())
}

/// What it takes to make a package.
///
/// # Errors
/// Something is missing and cannot be installed from here.
pub(crate) fn for_packaging() -> Result<()> {
    install(BUILD.iter().chain(PACKAGE));
    require(BUILD.iter().chain(PACKAGE))
}

/// What it takes to run all tests; gives what is missing that tests can do
/// without, each a sentence.
///
/// # Errors
/// Something is missing without which nothing can be tested.
pub(crate) fn for_tests() -> Result<Vec<String>> {
    install(BUILD.iter().chain(TEST).chain(FULL_TEST));
    require(BUILD.iter().chain(TEST))?;
    let mut lacking = missing(FULL_TEST.iter());
    if let Err(error) = python_environment() {
        lacking.push(format!("missing: the Python environment for tools/: {error:#}"));
    }
    for sentence in &lacking {
        println!("note: {sentence}");
    }
    Ok(lacking)
}

/// A sentence on each item that is not there.
fn missing<'a>(items: impl Iterator<Item = &'a Prerequisite>) -> Vec<String> {
    let absent = items.filter(|item| !(item.present)());
    absent.map(|item| format!("missing: {}, needed {}", item.name, item.purpose)).collect()
}

fn require<'a>(items: impl Iterator<Item = &'a Prerequisite>) -> Result<()> {
    let lacking = missing(items);
    ensure!(lacking.is_empty(), "this has to be installed first\n{}", lacking.join("\n"));
    Ok(())
}

/// Tries to install what is missing. Says what it does, and what to do where
/// it cannot.
fn install<'a>(items: impl Iterator<Item = &'a Prerequisite>) {
    let mut packages = Vec::new();
    let mut commands = Vec::new();
    for item in items.filter(|item| !(item.present)()) {
        match item.source {
            Source::Apt(names) => packages.extend(names),
            Source::Rustup(component) => {
                let mut command = Command::new("rustup");
                command.args(["component", "add", component]);
                commands.push(command);
            }
            Source::Cargo(name, version) => {
                commands.push(cargo(&["install", "--locked", name, "--version", version]));
            }
        }
    }
    // Packages first: among them are the compilers that the others need.
    let packages = if packages.is_empty() { Vec::new() } else { apt(&packages) };
    let mut steps = Steps::default();
    for command in packages.into_iter().chain(commands) {
        if let Err(error) = steps.run_long("install", "up to 5 minutes each", command) {
            println!("{error:#}");
        }
    }
}

/// The commands that install these packages; none if this user may not.
fn apt(packages: &[&str]) -> Vec<Command> {
    let mut install = vec!["apt-get", "install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    let mut version = Command::new("apt-get");
    version.arg("--version");
    if !succeeds(version) {
        println!("this system has no apt-get; install what Debian calls {}", packages.join(", "));
        return Vec::new();
    }
    let Some(sudo) = privilege() else {
        println!(
            "to install system packages that are missing:\n\n    sudo apt-get update && sudo {}\n",
            install.join(" ")
        );
        return Vec::new();
    };
    [vec!["apt-get", "update"], install]
        .map(|words| {
            let words = [sudo, &words].concat();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
            command
        })
        .into()
}

/// What to write before a command for root: nothing as root; `None` if that
/// would need a password.
fn privilege() -> Option<&'static [&'static str]> {
    let mut id = Command::new("id");
    id.arg("-u");
    if id.output().is_ok_and(|output| output.stdout.trim_ascii() == b"0") {
        return Some(&[]);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", "true"]);
    succeeds(sudo).then_some(&["sudo", "--non-interactive"])
}

/// Makes the Python environment again if `tools/requirements.txt` has changed.
fn python_environment() -> Result<()> {
    let requirements = root().join("tools/requirements.txt");
    let wanted = std::fs::read(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let environment = python::environment();
    let installed = environment.join("installed-requirements.txt");
    if python::interpreter().exists() && std::fs::read(&installed).is_ok_and(|was| was == wanted) {
        return Ok(());
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    let mut fill = Command::new(environment.join("bin/pip"));
    fill.args(["install", "--quiet", "--requirement"]).arg(&requirements);
    let mut steps = Steps::default();
    steps.run("Python environment", make)?;
    steps.run("Python packages", fill)?;
    write(&installed, &wanted)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
