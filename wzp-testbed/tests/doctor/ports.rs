//! Addresses that somebody else has: who it is, and nobody else.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use wzp_testbed::binaries;
use wzp_testbed::relay::{Launch, Relay, temporary_state};

use crate::place::{Place, Told};

/// The one line of a check names this process, and no other.
fn assert_names(told: &Told, check: &str, pid: u32) {
    told.assert(check, "error", &["the port is in use", &format!("process {pid} (")]);
    let lines = told.lines(check);
    assert_eq!(lines[0].1.matches("process ").count(), 1, "{lines:?}");
    let command = told.command(check);
    assert!(
        command.starts_with("ss -apn") || command.starts_with("systemctl status "),
        "{command}"
    );
}

fn launch(state: &std::path::Path, listen: &str) -> Launch<'static> {
    Launch {
        program: binaries::relay(),
        namespace: None,
        listen: listen.parse().unwrap(),
        state_dir: state.into(),
        arguments: Vec::new(),
    }
}

#[test]
fn ports_that_are_taken_are_told_with_who_has_them() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let settings = format!("relay.listen = '{udp_at}'\nmetrics.listen_addr = '{tcp_at}'");
    let told = Place::new().look(&settings);
    for (check, address) in [("clients_port", udp_at), ("metrics_port", tcp_at)] {
        told.assert(check, "error", &[&address.to_string()]);
        assert_names(&told, check, std::process::id());
    }
    assert_eq!((told.code, told.report["status"].as_str()), (1, Some("error")));
}

#[test]
fn only_who_is_in_the_way_is_named() {
    // This process comes before the relay that it starts, wherever processes are listed.
    let beside = UdpSocket::bind("127.0.0.2:0").unwrap();
    let port = beside.local_addr().unwrap().port();
    let folder = temporary_state().unwrap();
    let relay = Relay::start(&launch(folder.path(), &format!("127.0.0.1:{port}"))).unwrap();
    let place = Place::new();
    for wanted in [format!("127.0.0.1:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        assert_names(
            &place.look(&format!("relay.listen = '{wanted}'")),
            "clients_port",
            relay.id(),
        );
    }
    relay.stop().unwrap();

    let mapped = UdpSocket::bind("[::ffff:127.0.0.1]:0").unwrap();
    let wanted = format!("127.0.0.1:{}", mapped.local_addr().unwrap().port());
    let told = place.look(&format!("relay.listen = '{wanted}'"));
    assert_names(&told, "clients_port", std::process::id());
}

#[test]
fn an_address_that_cannot_be_had_for_another_reason_names_nobody() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    // TEST-NET-1 of RFC 5737.
    let settings = format!(
        "relay.listen = '192.0.2.1:{}'\nmetrics.listen_addr = '192.0.2.1:{}'",
        udp.local_addr().unwrap().port(),
        tcp.local_addr().unwrap().port()
    );
    let told = Place::new().look(&settings);
    for check in ["clients_port", "metrics_port"] {
        told.assert(check, "error", &["192.0.2.1", "ss -apn"]);
        assert!(!told.lines(check)[0].1.contains("process"), "{}", told.text);
    }
}

#[test]
fn a_relay_that_hangs_is_told_and_left_alone() {
    let place = Place::new();
    let relay = Relay::start(&launch(&place.state(), "127.0.0.1:0")).unwrap();
    let pid = Pid::from_raw(relay.id().cast_signed()).unwrap();
    let settings = format!(
        "relay.listen = '{}'\nmetrics.listen_addr = '{}'",
        relay.listen(),
        relay.metrics_address()
    );
    let told = place.look(&settings);
    told.assert("running", "ok", &[&format!("process {}", relay.id())]);
    told.assert("clients_port", "ok", &["by the relay that runs"]);

    kill_process(pid, Signal::STOP).unwrap();
    let told = place.look(&settings);
    told.assert("running", "warning", &["does not answer", &relay.id().to_string()]);
    let command = told.command("running");
    assert!(command.starts_with("ps ") || command.starts_with("systemctl status "), "{command}");
    for check in ["clients_port", "metrics_port"] {
        told.assert(check, "ok", &["by the relay that runs"]);
    }
    let output = place.other(Command::new("env"), &["ctl", "status"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "as docs/operations.md says: {error}");
    assert!(error.contains("hangs"), "{error}");
    kill_process(pid, Signal::CONT).unwrap();
    relay.stop().unwrap();
}
