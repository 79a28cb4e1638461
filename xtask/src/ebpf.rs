//! `cargo xtask build-ebpf`, `disasm` and `bench-ebpf`: the kernel programs.
//!
//! Their object is committed, so that the relay builds with a stable compiler
//! and nothing else. Who changes them builds them anew; `--check` finds out who
//! forgot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wzp_testbed::binaries::target_directory;

use crate::ebpf_needs as needs;
use crate::ebpf_object::differences;
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

pub(crate) fn build(options: &BuildOptions) -> Result<()> {
    needs::require(options.install)?;
    let mut steps = Steps::default();
    let target = target_directory().join("ebpf");
    steps.run("build", compile(&target)?)?;
    let mut different = Vec::new();
    for name in OBJECTS {
        let linked = target.join("bpfel-unknown-none/release").join(name);
        let stripped = linked.with_extension("o");
        steps.run("strip", strip(&linked, &stripped))?;
        let committed = committed(name);
        if options.check {
            let (new, old) = (read(&stripped)?, read(&committed)?);
            let found = differences(&old, &new).context("cannot compare the objects")?;
            different
                .extend(found.into_iter().map(|what| format!("{}: {what}", shown(&committed))));
        } else {
            fs::create_dir_all(committed.parent().unwrap_or(Path::new("")))?;
            fs::copy(&stripped, &committed)
                .with_context(|| format!("cannot write {}", committed.display()))?;
            println!("{} has {} bytes", shown(&committed), fs::metadata(&committed)?.len());
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
    command.args(["wzp", "steer"].map(committed));
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
    let mut command = cargo(&[
        "build",
        "--release",
        "--locked",
        "--target=bpfel-unknown-none",
        "-Zbuild-std=core",
    ]);
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

fn committed(name: &str) -> PathBuf {
    root().join("wzp-kernel/ebpf").join(name).with_extension("o")
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
