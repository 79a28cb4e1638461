//! `cargo xtask build-ebpf`, `disasm` and `bench-ebpf`: the kernel programs.
//!
//! Their object is committed, so that the relay builds with a stable compiler
//! and nothing else. Whoever changes them builds them again; `--check` finds what was
//! forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wzp_testbed::binaries::target_directory;

use crate::ebpf_needs as needs;
use crate::ebpf_object;
use crate::ebpf_rustc::VARIABLE;
use crate::project::{cargo, root};
use crate::step::Steps;

/// What `cargo xtask build-ebpf` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildOptions {
    /// Change nothing; fail if the committed objects are not what their source
    /// gives.
    #[arg(long)]
    check: bool,

    /// Install what is missing first.
    #[arg(long)]
    install: bool,
}

/// What `cargo xtask disasm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DisasmOptions {
    /// Only this program.
    program: Option<String>,
}

/// The objects, by the name of the program that they are built from.
const OBJECTS: [&str; 3] = ["wzp", "steer", "empty"];

/// The byte orders that a kernel may have, as the compiler calls them.
const ORDERS: [&str; 2] = ["bpfel", "bpfeb"];

/// What two objects differ in that are the same to the kernel.
const OTHERWISE: &str = "types or line numbers differ";

pub(crate) fn build(options: &BuildOptions) -> Result<()> {
    needs::require(options.install)?;
    let mut steps = Steps::default();
    let target = target_directory().join("ebpf");
    steps.run_long("build", "about 1 minute the first time", compile(&target)?)?;
    let mut different = Vec::new();
    for (order, name) in ORDERS.iter().flat_map(|order| OBJECTS.map(|name| (order, name))) {
        let linked = target.join(format!("{order}-unknown-none/release")).join(name);
        let stripped = linked.with_extension("o");
        steps.run("strip", strip(&linked, &stripped))?;
        let committed = committed(order, name);
        let new = read(&stripped)?;
        if options.check {
            let found = differences(&read(&committed)?, &new);
            different.extend(found.iter().map(|what| format!("{}: {what}", shown(&committed))));
        } else {
            fs::create_dir_all(committed.parent().unwrap_or(Path::new("")))?;
            fs::write(&committed, &new)
                .with_context(|| format!("cannot write {}", committed.display()))?;
            println!("{} has {} bytes", shown(&committed), new.len());
        }
    }
    if !different.is_empty() {
        bail!(
            "the committed objects are not what their source gives:\n  {}\n\
             To bring them up to date:\n\n    cargo xtask build-ebpf\n",
            different.join("\n  ")
        );
    }
    if options.check {
        println!("the committed objects are what their source gives");
    }
    Ok(())
}

/// What differs, a phrase each; nothing if and only if the files are the same.
fn differences(old: &[u8], new: &[u8]) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    match ebpf_object::differences(old, new) {
        Ok(found) if found.is_empty() => vec![OTHERWISE.to_owned()],
        Ok(found) => found,
        Err(error) => vec![format!("cannot be compared: {error:#}")],
    }
}

/// Whether the committed objects are what their source gives, as part of
/// `cargo xtask test`; continuous integration installs what that takes.
pub(crate) fn check(ci: bool) -> Result<()> {
    if !ci && needs::require(false).is_err() {
        println!(
            "note: the committed kernel programs are not compared with their source; \
             `cargo xtask build-ebpf --install` brings what that takes"
        );
        return Ok(());
    }
    build(&BuildOptions { check: true, install: ci })
}

pub(crate) fn disasm(options: &DisasmOptions) -> Result<()> {
    let mut command = Command::new(needs::llvm("llvm-objdump"));
    command.args(["--disassemble", "--source", "--reloc", "--no-show-raw-insn"]);
    if let Some(program) = &options.program {
        command.arg(format!("--disassemble-symbols={program}"));
    }
    command.args(["wzp", "steer"].map(|name| committed(ORDERS[0], name)));
    Steps::default().run("disassemble", command)
}

pub(crate) fn bench() -> Result<()> {
    let arguments = ["run", "--release", "--locked", "--package", "wzp-kernel"];
    let example = ["--example", "kernel_bench"];
    Steps::default().run("bench", cargo(&[&arguments[..], &example].concat()))
}

/// The flags for the kernel. None that differs between machines shows in the
/// result: paths are replaced.
fn compile(target: &Path) -> Result<Command> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = vec![
        // Register layouts of tracing programs; these programs have none, but
        // the library wants to know.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Clinker=bpf-linker".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // The instruction set since Linux 5.12; the relay wants 6.6.
        "-Ctarget-cpu=v3".to_owned(),
        format!("--remap-path-prefix={}=", root().display()),
        format!("--remap-path-prefix={sysroot}/lib/rustlib/src/rust=rust"),
    ];
    // One folder for each registry; its name is not the same everywhere.
    let registries = cargo_home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    for registry in registries.into_iter().flatten().flatten() {
        flags.push(format!("--remap-path-prefix={}=crates", registry.path().display()));
    }
    let mut command = cargo(&["build", "--release", "--locked", "-Zbuild-std=core"]);
    command.args(ORDERS.map(|order| format!("--target={order}-unknown-none")));
    command
        .current_dir(root().join("wzp-ebpf"))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The standard library for a target without one is built from source,
        // which is not stable; so no second compiler is needed.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(VARIABLE, "1");
    Ok(command)
}

/// Leaves the types and line numbers that the kernel reads, not those for
/// debuggers.
fn strip(from: &Path, to: &Path) -> Command {
    let mut command = Command::new(needs::llvm("llvm-objcopy"));
    command.args(["--strip-debug", "--remove-section=.rel.BTF", "--remove-section=.rel.BTF.ext"]);
    command.arg(from).arg(to);
    command
}

fn committed(order: &str, name: &str) -> PathBuf {
    root().join("wzp-kernel/ebpf").join(order).join(name).with_extension("o")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = include_bytes!("../../wzp-kernel/ebpf/bpfel/steer.o");

    #[test]
    fn one_byte_anywhere_makes_a_difference() {
        assert_eq!(differences(OBJECT, OBJECT), Vec::<String>::new());
        // The line table lies behind the instructions and the types.
        let path = OBJECT.windows(6).position(|bytes| bytes == b"src/st").unwrap();
        for place in [0, path, OBJECT.len() / 2, OBJECT.len() - 1] {
            let mut other = OBJECT.to_vec();
            other[place] ^= 1;
            assert_ne!(differences(OBJECT, &other), Vec::<String>::new(), "byte {place}");
        }
        let mut other = OBJECT.to_vec();
        other[path] ^= 1;
        assert_eq!(differences(OBJECT, &other), [OTHERWISE]);
    }
}
