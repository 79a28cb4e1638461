//! `cargo xtask test`: everything that must pass before a change is accepted.
//! The tests come last, so that their summary is what one sees.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wzp_testbed::binaries::target_directory;
use wzp_testbed::skip;

use crate::ebpf;
use crate::prerequisites::alsa;
use crate::project::{cargo, succeeds};
use crate::setup;
use crate::step::Steps;

/// What the steps take when nothing is built yet, on two cores.
const LINTS: &str = "about 6 minutes the first time, seconds later";
const DOCUMENTATION: &str = "about 2 minutes the first time";
const BUILD: &str = "about 15 minutes and 4 GB of disk the first time";
const TESTS: &str = "about 10 minutes: some listen to whole calls";

/// How long the database of advisories may take to come.
const FETCH_TIME: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<()> {
    let lacking = setup::for_tests()?;
    let ci = std::env::var("CI").as_deref() == Ok("true");
    ensure!(
        !ci || lacking.is_empty(),
        "with CI=true nothing may be missing:\n{}",
        lacking.join("\n")
    );
    if let Some(reason) = skip::missing_namespaces() {
        println!("note: tests in network namespaces will skip themselves; they need {reason}");
    }

    let mut steps = Steps::default();
    steps.run("formatting", cargo(&["fmt", "--all", "--check"]))?;
    let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    steps.run_long("lints", LINTS, cargo(&lint))?;
    if alsa() {
        let live = ["clippy", "--package", "wzp-client", "--features", "live", "--all-targets"];
        let strict = ["--locked", "--", "-D", "warnings"];
        steps.run("lints of live audio", cargo(&[&live[..], &strict].concat()))?;
    }
    // Alone, so that it is seen to do without the features that others ask for.
    let core = ["clippy", "--package", "wzp-sfu", "--lib", "--locked", "--", "-D", "warnings"];
    steps.run("lints of the core alone", cargo(&core))?;
    ebpf::check(ci)?;
    // A workspace of its own, so nothing else notices what breaks it.
    let targets = ["check", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--target-dir"];
    let mut fuzz = cargo(&targets);
    fuzz.arg(target_directory());
    steps.run("fuzz targets", fuzz)?;
    // Those who read it work on the project: private items count.
    let private = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
    let mut documentation = cargo(&private);
    documentation.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
    steps.run_long("documentation", DOCUMENTATION, documentation)?;
    dependencies(&mut steps)?;
    // Builds the programs that the tests start, too.
    let build = ["build", "--workspace", "--all-targets", "--locked"];
    steps.run_long("build", BUILD, cargo(&build))?;
    steps.run("examples in documentation", cargo(&["test", "--workspace", "--doc", "--locked"]))?;
    steps.run_long("tests", TESTS, tests())?;
    steps.print();
    Ok(())
}

fn tests() -> Command {
    if succeeds(cargo(&["nextest", "--version"])) {
        cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
    } else {
        println!("note: cargo-nextest is missing; cargo test takes its place");
        cargo(&["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast"])
    }
}

/// Licences, duplicates and sources need no network; the database of security
/// advisories is checked when it can be had.
fn dependencies(steps: &mut Steps) -> Result<()> {
    let local =
        ["deny", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    steps.run("dependencies", cargo(&local))?;
    println!("\n==> fetching the database of security advisories: cargo deny fetch db");
    if advisories_fetched() {
        let check = ["deny", "--locked", "check", "--disable-fetch", "advisories"];
        steps.run("security advisories", cargo(&check))
    } else {
        println!("note: it cannot be reached; SECURITY ADVISORIES WERE NOT CHECKED");
        Ok(())
    }
}

fn advisories_fetched() -> bool {
    let mut fetch = cargo(&["deny", "fetch", "db"]);
    fetch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    fetch.spawn().is_ok_and(|child| succeeds_within(child, FETCH_TIME))
}

fn succeeds_within(mut child: Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_command_is_bounded() {
        let shell = |script| Command::new("sh").args(["-c", script]).spawn().unwrap();
        assert!(succeeds_within(shell("exit 0"), Duration::from_secs(10)));
        assert!(!succeeds_within(shell("exit 1"), Duration::from_secs(10)));
        assert!(!succeeds_within(shell("exec sleep 60"), Duration::from_millis(100)));
    }
}
