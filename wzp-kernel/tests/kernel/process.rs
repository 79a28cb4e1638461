//! Privileges, and what is left of a killed process. Each test starts this
//! program again, as a process that does nothing but count.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wzp_kernel::{Kernel, Options};
use wzp_testbed::netns::Namespace;
use wzp_testbed::skip;

use crate::scene::{ip, options, programs};

const INTERFACES: &str = "WZP_TEST_INTERFACES";

/// Starts the kernel's side on these interfaces, says how that went, and waits
/// to be killed. A process of its own, not a test: it runs only where the
/// variable is set.
#[test]
fn child_process() {
    let Ok(names) = std::env::var(INTERFACES) else { return };
    let interfaces = names.split(',').map(str::to_owned).collect();
    match Kernel::start(&Options { interfaces, ..options() }) {
        Ok(kernel) => {
            println!("counting: {}", kernel.is_counting());
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
        }
        Err(error) => println!("failed: {error}"),
    }
}

/// This program as [`child_process`], under another program.
pub(crate) fn child(namespace: &Namespace, interfaces: &str, wrapper: &[&str]) -> Command {
    let mut command = only(namespace, "process::child_process", wrapper);
    command.env(INTERFACES, interfaces).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// This program with nothing but one of its tests, under another program.
pub(crate) fn only(namespace: &Namespace, test: &str, wrapper: &[&str]) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => namespace.command(this),
        [program, arguments @ ..] => {
            let mut command = namespace.command(program);
            command.args(arguments).arg(this);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

fn veth(label: &str) -> Namespace {
    let namespace = Namespace::new(label).unwrap();
    ip(&namespace, "link add eth0 type veth peer name eth1");
    namespace
}

#[test]
fn nothing_is_left_of_a_killed_process() {
    if !skip::have_namespaces("nothing_is_left_of_a_killed_process") {
        return;
    }
    // The loopback has no driver: there it is TCX on the way in.
    for interface in ["eth0", "lo"] {
        let namespace = veth("killed");
        let mut process = child(&namespace, interface, &[]).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let started = lines.map(Result::unwrap).find(|line| line.contains("counting"));
        assert!(started.is_some_and(|line| line.ends_with("counting: true")), "{interface}");
        assert_eq!(programs(&namespace, interface), (1, 1), "{interface}");
        process.kill().unwrap();
        process.wait().unwrap();
        // The kernel closes the descriptors of a process when it ends, and
        // frees what they held a little later.
        let deadline = Instant::now() + Duration::from_secs(10);
        while programs(&namespace, interface) != (0, 0) {
            assert!(Instant::now() < deadline, "{interface} has programs still");
            std::thread::yield_now();
        }
    }
}

#[test]
fn two_capabilities_are_enough() {
    if !skip::have_namespaces("two_capabilities_are_enough") {
        return;
    }
    assert_eq!(start_with("+bpf,+net_admin"), "counting: true");
}

#[test]
fn missing_capabilities_are_named() {
    if !skip::have_namespaces("missing_capabilities_are_named") {
        return;
    }
    for (have, lacks) in [
        ("+chown", "lacks CAP_BPF and CAP_NET_ADMIN."),
        ("+bpf", "lacks CAP_NET_ADMIN."),
        ("+net_admin", "lacks CAP_BPF."),
    ] {
        let answer = start_with(have);
        assert!(answer.starts_with("failed") && answer.contains(lacks), "{have}: {answer}");
    }
}

/// What a process with no other capabilities answers.
fn start_with(capabilities: &str) -> String {
    let namespace = veth("limited");
    let bounding = format!("--bounding-set=-all,{capabilities}");
    let wrapper = ["setpriv", &bounding, "--inh-caps=-all", "--"];
    let mut process = child(&namespace, "eth0", &wrapper).spawn().unwrap();
    drop(process.stdin.take());
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find_map(|line| {
        let start = line.find("counting: ").or_else(|| line.find("failed: "))?;
        Some(line[start..].to_owned())
    });
    answer.unwrap_or_else(|| panic!("{text}"))
}
