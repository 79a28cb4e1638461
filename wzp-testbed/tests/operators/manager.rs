//! The service manager's side of sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use wzp_testbed::loopback::launch;
use wzp_testbed::relay::{Relay, temporary_state};

use crate::{LIMIT, done};

/// Reads what comes until a message has all these parts.
fn expect(manager: &UnixDatagram, parts: &[&str]) -> String {
    let deadline = Instant::now() + LIMIT;
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        let mut buffer = [0; 4096];
        let Ok(length) = manager.recv(&mut buffer) else { break };
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if parts.iter().all(|part| message.contains(part)) {
            return message;
        }
        seen.push(message);
    }
    panic!("waited in vain for {parts:?}; came {seen:?}");
}

/// `@name` is in the abstract namespace, which containers like to use.
#[test]
fn a_manager_with_an_abstract_name_hears_it_too() {
    let folder = temporary_state().unwrap();
    let name = format!("wzp-relay-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = launch(folder.path(), &[]).command();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let relay = Relay::from_command(command, None).unwrap();
    expect(&manager, &["READY=1\n"]);
    relay.terminate().unwrap();
    expect(&manager, &["STOPPING=1\n"]);
    let mut relay = relay;
    relay.wait().unwrap();
}

#[test]
fn a_manager_that_cannot_be_told_is_complained_of_once() {
    for name in ["/nowhere/notify", "@nobody-listens-here", "notify", "vsock:2:1"] {
        let folder = temporary_state().unwrap();
        let mut command = launch(folder.path(), &[]).command();
        command.env("NOTIFY_SOCKET", name);
        let mut relay = Relay::from_command(command, None).unwrap();
        // READY, the first status, and the end.
        relay.terminate().unwrap();
        relay.wait().unwrap();
        let log = relay.log();
        let complaints: Vec<_> =
            log.lines().filter(|line| line.contains("service manager")).collect();
        assert!(complaints.len() == 1 && complaints[0].contains(name), "{name}: {log}");
    }
}

#[test]
fn the_service_manager_hears_of_start_life_reload_and_end() {
    let folder = temporary_state().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let launch = launch(folder.path(), &["--drain-timeout", "200s"]);
    let mut command = launch.command();
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let relay = Relay::from_command(command, None).unwrap();
    expect(&manager, &["READY=1\n"]);
    expect(&manager, &["STATUS=0 sessions in 0 rooms"]);
    // The first needs no pulse; the later ones are proof of the shards' life.
    for _ in 0..3 {
        expect(&manager, &["WATCHDOG=1"]);
    }

    let status = done(&launch.state_dir, &["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let pid = Pid::from_raw(status["pid"].as_i64().unwrap() as i32).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    expect(&manager, &["RELOADING=1\n", "MONOTONIC_USEC="]);
    expect(&manager, &["READY=1"]);

    relay.terminate().unwrap();
    let stopping = expect(&manager, &["STOPPING=1\n"]);
    let micros = stopping.split_once("EXTEND_TIMEOUT_USEC=").unwrap().1.trim();
    // The drain's time and what the end takes.
    assert!((200_000_000..=210_000_000).contains(&micros.parse().unwrap()), "{stopping}");
    let mut relay = relay;
    relay.wait().unwrap();
}
