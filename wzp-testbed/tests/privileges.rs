//! What the relay's threads may do once it is ready, and whose its files are.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wzp_testbed::netns::Network;
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::skip;

/// Bits of capabilities(7).
const NET_ADMIN: u64 = 1 << 12;
const FILES: u64 = 1 << 1 | 1 << 2 | 1 << 3;

/// What the user of the service has by its unit.
const SERVICE: [&str; 3] =
    ["--reuid=65534", "--clear-groups", "--inh-caps=+bpf,+net_admin,+perfmon"];
const AMBIENT: &str = "--ambient-caps=+bpf,+net_admin,+perfmon";

/// The permitted capabilities of each of the relay's threads, by its name.
fn threads(relay: &Relay<'_>) -> BTreeMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", relay.id())).unwrap();
    let mut threads = BTreeMap::new();
    for task in tasks {
        let task = task.unwrap().path();
        // It may have ended.
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        };
        let bits = |name| u64::from_str_radix(&field(name), 16).unwrap();
        assert_eq!(field("NoNewPrivs:"), "1");
        let reachable = bits("CapPrm:") | bits("CapInh:") | bits("CapAmb:");
        *threads.entry(field("Name:")).or_default() |= reachable;
    }
    threads
}

/// How often the programs were attached.
fn attachments(relay: &Relay<'_>) -> usize {
    relay.log().matches("the kernel counts this interface's packets").count()
}

/// Starts a relay that the kernel counts for, as root or as the service's user.
fn with_a_kernel_that_counts(as_service: bool) {
    let name = "one_thread_keeps_what_attaching_takes";
    if !skip::have_namespaces(name) || !skip::have_program(name, "setpriv") {
        return;
    }
    let network = Network::new(&["relay", "peer"]).unwrap();
    let host = &network.hosts()[0];
    let folder = temporary_state().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let launch = Launch {
        arguments: ["--ebpf", "require", "--interface", "eth0", "--shards", "2"]
            .map(Into::into)
            .into(),
        ..Launch::on(&host.namespace, "[::]:0".parse().unwrap(), folder.path())
    };
    let plain = launch.command();
    let mut command = host.namespace.command("setpriv");
    if as_service {
        command.args(SERVICE).arg(AMBIENT);
    }
    // Behind `ip netns exec NAME`.
    command.args(plain.get_args().skip(3));
    let relay = Relay::from_command(command, Some(&host.namespace)).unwrap();
    assert_eq!(attachments(&relay), 1, "{}", relay.log());

    let mut threads = threads(&relay);
    assert_eq!(threads.remove("privileged"), Some(NET_ADMIN), "{threads:?}");
    for shard in ["shard-0", "shard-1"] {
        assert_eq!(threads.remove(shard), Some(0), "{shard}");
    }
    for (thread, capabilities) in threads {
        let allowed = if as_service { 0 } else { FILES };
        assert_eq!(capabilities & !allowed, 0, "{thread}");
    }

    // What it has kept is enough for an interface that comes back.
    let ip = |arguments: &str| {
        let status = host.namespace.command("ip").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    };
    ip("link set eth0 name eth9");
    ip("link add eth0 type veth peer name eth1");
    let deadline = Instant::now() + Duration::from_secs(30);
    while attachments(&relay) < 2 {
        assert!(Instant::now() < deadline, "{}", relay.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    relay.stop().unwrap();
}

#[test]
fn one_thread_of_a_service_keeps_what_attaching_takes() {
    with_a_kernel_that_counts(true);
}

#[test]
fn one_thread_of_root_keeps_what_attaching_takes() {
    with_a_kernel_that_counts(false);
}

#[test]
fn without_interfaces_no_thread_keeps_anything() {
    let name = "without_interfaces_no_thread_keeps_anything";
    if !skip::have_namespaces(name) {
        return;
    }
    let network = Network::new(&["relay", "peer"]).unwrap();
    let host = &network.hosts()[0];
    let folder = temporary_state().unwrap();
    let launch = Launch::on(&host.namespace, "[::]:0".parse().unwrap(), folder.path());
    let relay = Relay::start(&launch).unwrap();
    for (thread, capabilities) in threads(&relay) {
        assert_eq!(capabilities & !FILES, 0, "{thread}");
    }
    assert_eq!(threads(&relay).get("privileged"), None);
    relay.stop().unwrap();
}

#[test]
fn files_are_the_relays_alone_whatever_the_umask() {
    let folder = temporary_state().unwrap();
    let state = folder.path().join("deep/state");
    let log = folder.path().join("logs/relay.log");
    let config = folder.path().join("relay.toml");
    let text = format!(
        "[logging]\nfile = '{}'\n[audit]\nenabled = true\n[metrics]\nlisten_addr = '127.0.0.1:0'\n",
        log.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0 && exec \"$@\"", "sh"]).arg(wzp_testbed::binaries::relay());
    command
        .args(["--listen", "127.0.0.1:0", "--state-dir"])
        .arg(&state)
        .arg("--config")
        .arg(&config);
    let relay = Relay::from_command(command, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut seen = 0;
    for folder in [&state, state.parent().unwrap(), log.parent().unwrap()] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                seen += 1;
            }
        }
    }
    // Identity, admin socket, audit log, log and their locks.
    assert!(seen >= 4, "{seen} files");
    relay.stop().unwrap();
}
