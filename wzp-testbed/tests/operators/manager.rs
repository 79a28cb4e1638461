//! The service manager's side of sd_notify(3).

use std::os::unix::net::UnixDatagram;
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
