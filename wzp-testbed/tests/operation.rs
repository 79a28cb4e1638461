//! What an operator sees: start, stop, restart, mistakes and metrics.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use serde_json::Value;
use wzp_testbed::client::{Client, Launch as ClientLaunch};
use wzp_testbed::loopback::{Loopback, launch};
use wzp_testbed::process::Process;
use wzp_testbed::relay::{PATIENCE, Relay, temporary_state};
use wzp_testbed::{binaries, http};
use wzp_transport::trust::Trust;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a relay that cannot start; gives its one sentence.
fn refusal(arguments: &[&str]) -> String {
    let folder = temporary_state().unwrap();
    let mut command = Command::new(binaries::relay());
    // Given again, an option of `launch` would be a mistake of its own.
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    if !arguments.contains(&"--metrics-port") {
        command.args(["--metrics-port", "0"]);
    }
    command.arg("--state-dir").arg(folder.path().join("state")).args(arguments);
    let mut process = Process::start("wzp-relay", command).unwrap();
    let status = process.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1), "{}", process.stderr());
    assert_eq!(process.rest_of_stdout(), "", "it looked ready");
    let log = process.stderr();
    // `--metrics-port` serves all addresses, which is warned of.
    let is_known = |line: &&str| line.contains("INFO") || line.contains("open to the network");
    let complaints: Vec<_> = log.lines().filter(|line| !is_known(line)).collect();
    let [sentence] = complaints[..] else { panic!("not one sentence: {log}") };
    sentence.to_owned()
}

#[test]
fn a_port_in_use_is_told_in_one_sentence() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sentence = refusal(&["--listen", &address]);
    assert!(sentence.contains(&address) && sentence.contains("in use"), "{sentence}");

    // Shards share a port; that must not let a second relay in.
    let relay = Loopback::new(&[]);
    let address = relay.relay().listen().to_string();
    let sentence = refusal(&["--listen", &address]);
    assert!(sentence.contains(&address) && sentence.contains("in use"), "{sentence}");
    relay.stop();

    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let sentence = refusal(&["--metrics-port", &port]);
    assert!(sentence.contains(&port) && sentence.contains("in use"), "{sentence}");
}

#[test]
fn a_bad_certificate_is_told_in_one_sentence() {
    let folder = temporary_state().unwrap();
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "not PEM").unwrap();
    let garbage = garbage.to_str().unwrap();
    let cases = [("/nonexistent/cert.pem", "No such file"), (garbage, "not a PEM file")];
    for (path, reason) in cases {
        let sentence = refusal(&["--cert", path, "--key", path]);
        assert!(sentence.contains(path) && sentence.contains(reason), "{sentence}");
    }
}

#[test]
fn a_bad_configuration_is_told_with_its_place() {
    let folder = temporary_state().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, "[limits]\nsesions = 5\n").unwrap();
    let path = path.to_str().unwrap();
    let mut command = launch(folder.path(), &["--config", path]).command();
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{complaint}");
    for word in [path, "sesions", "2", "sessions"] {
        assert!(complaint.contains(word), "{word} is not in: {complaint}");
    }
}

/// Waits until the relay counts so many sessions.
fn wait_for_sessions(relay: &Relay<'_>, sessions: f64) {
    let deadline = Instant::now() + LIMIT;
    while relay.scrape().unwrap().sum("wzp_relay_active_sessions", &[]) != Some(sessions) {
        assert!(Instant::now() < deadline, "{sessions} sessions were not reached");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sigterm_tells_the_clients_and_ends_well() {
    let loopback = Loopback::new(&["--drain-timeout", "2s"]);
    let talker =
        Client::start(&loopback.client("room", "anna"), &["--no-reconnect", "--send-tone", "60"])
            .unwrap();
    let listener = Client::start(&loopback.client("room", "boris"), &["--no-reconnect"]).unwrap();
    wait_for_sessions(loopback.relay(), 2.0);
    loopback.relay().terminate().unwrap();
    for client in [talker, listener] {
        let error = client.fail(LIMIT).unwrap();
        assert!(error.contains("stopping"), "{error}");
    }
    let start = Instant::now();
    loopback.wait();
    // Nobody was left, so nothing was to be waited for.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_draining_relay_is_healthy_but_not_ready_and_takes_nobody_in() {
    let loopback = Loopback::new(&["--drain-timeout", "6s"]);
    let talker =
        Client::start(&loopback.client("room", "anna"), &["--send-tone", "60", "--no-reconnect"])
            .unwrap();
    wait_for_sessions(loopback.relay(), 1.0);
    loopback.relay().terminate().unwrap();
    let deadline = Instant::now() + LIMIT;
    while loopback.relay().get("/ready").unwrap().status == 200 {
        assert!(Instant::now() < deadline, "it stays ready");
    }
    let ready = loopback.relay().get("/ready").unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert_eq!(loopback.relay().get("/health").unwrap().status, 200);
    let late =
        Client::start(&loopback.client("room", "late"), &["--duration", "1", "--no-reconnect"])
            .unwrap();
    late.fail(LIMIT).unwrap();
    talker.fail(LIMIT).unwrap();
    loopback.wait();
}

#[test]
fn the_identity_outlives_the_relay() {
    let (folder, other) = (temporary_state().unwrap(), temporary_state().unwrap());
    let fingerprint = |folder: &Path| {
        let relay = Relay::start(&launch(folder, &[])).unwrap();
        let fingerprint = relay.fingerprint().to_owned();
        relay.stop().unwrap();
        fingerprint
    };
    let first = fingerprint(folder.path());
    assert_eq!(first.len(), 64, "{first}");
    assert_eq!(fingerprint(folder.path()), first);
    assert_ne!(fingerprint(other.path()), first);
}

#[test]
fn the_recommended_client_command_works() {
    let loopback = Loopback::new(&[]);
    let folder = binaries::client().parent().unwrap().to_owned();
    let path = std::env::join_paths(
        [folder].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{} --duration 1", loopback.relay().client_command()))
        .env("PATH", path.unwrap());
    let mut process = Process::start("the recommended command", command).unwrap();
    let status = process.wait(LIMIT).unwrap();
    assert!(status.success(), "{}: {}", loopback.relay().client_command(), process.stderr());
    loopback.stop();
}

#[test]
fn endpoints_tell_the_truth() {
    const ROOM: &str = "a \"room\" with \\ and {}";
    let loopback = Loopback::new(&[]);
    let relay = loopback.relay();
    let (health, ready) = (relay.get("/health").unwrap(), relay.get("/ready").unwrap());
    for (page, key, expected) in
        [(&health, "status", Value::from("healthy")), (&ready, "ready", Value::from(true))]
    {
        assert_eq!((page.status, page.field("content-type")), (200, Some("application/json")));
        let content: Value = serde_json::from_str(&page.body).unwrap();
        assert_eq!(content[key], expected, "{}", page.body);
    }
    let metrics = relay.get("/metrics").unwrap();
    let kind = metrics.field("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert_eq!(relay.get("/nothing").unwrap().status, 404);

    let idle = relay.scrape().unwrap();
    assert_eq!(idle.sum("wzp_relay_active_sessions", &[]), Some(0.0));
    assert_eq!(idle.sum("wzp_relay_active_rooms", &[]), Some(0.0));
    let listeners = ["one", "two"].map(|name| {
        let arguments = ["--duration", "4"];
        Client::start(&loopback.client(ROOM, name), &arguments).unwrap()
    });
    let talker = ["--send-tone", "1", "--wait-for", "2", "--linger", "0.5"];
    let talker = Client::start(&loopback.client(ROOM, "talker"), &talker).unwrap();
    wait_for_sessions(relay, 3.0);
    assert_eq!(relay.scrape().unwrap().sum("wzp_relay_active_rooms", &[]), Some(1.0));
    assert_eq!(talker.finish(LIMIT).unwrap().frames_sent, 50);
    let busy = relay.scrape().unwrap();
    let forwarded = "wzp_relay_packets_forwarded_total";
    assert_eq!(busy.sum(forwarded, &[("room", ROOM)]), Some(100.0));
    promtool(&relay.get("/metrics").unwrap());
    for listener in listeners {
        assert_eq!(listener.finish(LIMIT).unwrap().frames_received, 50);
    }
    wait_for_sessions(relay, 0.0);
    assert_eq!(relay.scrape().unwrap().sum("wzp_relay_active_rooms", &[]), Some(0.0));
    loopback.stop();
}

/// Prometheus' own opinion, where it is installed, but on names that the
/// specification fixes; those have twins in base units.
fn promtool(metrics: &http::Response) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("note: promtool is missing; the metrics were not linted");
        return;
    };
    child.stdin.take().unwrap().write_all(metrics.body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    let fixed = |line: &&str| line.starts_with("wzp_relay_session_rtt_ms ");
    let rest: Vec<_> = complaints.lines().filter(|line| !fixed(line)).collect();
    assert!(rest.is_empty(), "{rest:#?}");
}

#[test]
fn handshakes_that_fail_are_logged_with_what_quic_says_of_them() {
    let loopback = Loopback::new(&[]);
    // It says with an alert that the certificate is not the right one.
    let distrustful = ClientLaunch { pin: "0".repeat(64), ..loopback.client("lobby", "anna") };
    Client::start(&distrustful, &[]).unwrap().fail(LIMIT).unwrap();
    let line = loopback.relay().logged("reason=\"transport\"").unwrap();
    assert!(
        line.contains("handshake failed") && line.contains("error=\"aborted by peer"),
        "{line}"
    );

    let mut tls = Trust::Insecure.client_config().unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = QuicClientConfig::try_from(tls).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = ClientConfig::new(Arc::new(tls));
        let connecting = endpoint.connect_with(config, loopback.relay().listen(), "relay").unwrap();
        connecting.await.unwrap_err();
    });
    let line = loopback.relay().logged("reason=\"invalid\"").unwrap();
    assert!(line.contains("handshake failed") && line.contains("known protocol"), "{line}");
    loopback.stop();
}
