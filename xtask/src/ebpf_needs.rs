//! What it takes to build the kernel programs, and what brings each.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::project::succeeds;
use crate::step::{Steps, command_line};

/// The version of LLVM that the compiler has: the linker reads its bitcode.
const LLVM: &str = "22";
const LINKER: &str = "0.13.0";
/// What the longest of the commands takes, on two cores.
const INSTALL: &str = "up to 5 minutes";

struct Need {
    name: &'static str,
    purpose: &'static str,
    present: fn() -> bool,
    /// The commands that bring it.
    install: fn() -> Vec<Command>,
}

const NEEDS: &[Need] = &[
    Need {
        name: "the source of the Rust standard library",
        purpose: "to build its core for the kernel",
        present: || {
            let mut command = Command::new("rustc");
            command.args(["--print", "sysroot"]);
            command.output().is_ok_and(|output| {
                let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").exists()
            })
        },
        install: || vec![command("rustup component add rust-src")],
    },
    Need {
        name: "LLVM 22 with its development files",
        purpose: "to link the programs and strip them",
        present: || {
            succeeds(version(llvm("llvm-objcopy"))) && prefix().join("include/llvm").exists()
        },
        install: || {
            vec![
                command("apt-get update"),
                command(
                    "apt-get install --yes --no-install-recommends llvm-22-dev libpolly-22-dev",
                ),
            ]
        },
    },
    Need {
        name: "bpf-linker 0.13.0",
        purpose: "to link the programs",
        present: || {
            let output = version("bpf-linker".into()).output();
            output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(LINKER))
        },
        install: || {
            let features = format!("--no-default-features --features llvm-{LLVM}");
            let mut install =
                command(&format!("cargo install bpf-linker --version {LINKER} {features}"));
            install.env("LLVM_PREFIX", prefix());
            vec![install]
        },
    },
];

/// Checks that everything is there, and installs it first if asked to.
///
/// # Errors
/// Something is missing; says how to get it.
pub(crate) fn require(install: bool) -> Result<()> {
    let mut sentences = Vec::new();
    for need in NEEDS.iter().filter(|need| !(need.present)()) {
        let commands = (need.install)();
        if install {
            for command in commands {
                Steps::default().run_long("install", INSTALL, command)?;
            }
        }
        if !(need.present)() {
            let lines: Vec<_> = (need.install)().iter().map(command_line).collect();
            sentences.push(format!(
                "{} is missing, needed {}:\n\n    {}\n",
                need.name,
                need.purpose,
                lines.join("\n    ")
            ));
        }
    }
    if !sentences.is_empty() {
        bail!("{}\nor all at once: cargo xtask build-ebpf --install", sentences.join("\n"));
    }
    Ok(())
}

/// A program of LLVM.
pub(crate) fn llvm(program: &str) -> PathBuf {
    prefix().join("bin").join(program)
}

fn prefix() -> PathBuf {
    std::env::var_os("LLVM_PREFIX")
        .map_or_else(|| format!("/usr/lib/llvm-{LLVM}").into(), PathBuf::from)
}

fn version(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.arg("--version");
    command
}

fn command(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}
