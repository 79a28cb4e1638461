//! Clients that hold a listener, and those who must be answered all the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::*;
use crate::http::testing::{Answer, Server, ask, limits};

/// Far less than any limit of the listener lets a client wait.
const SOON: Duration = Duration::from_secs(8);

/// So short that a test need not wait, for what is to run out.
const SHORT: Duration = Duration::from_millis(100);

/// Somebody else's, whose own limit is 16 connections.
const ATTACKER: u32 = 0x00_02_00;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it is answered soon")
}

/// Both pages that say whether the program lives, and the metrics.
async fn watch(server: &Server) -> Answer {
    for page in ["/health", "/ready"] {
        assert_eq!(soon(server.get(page)).await.status, 200, "{page}");
    }
    let metrics = soon(server.get("/metrics")).await;
    assert_eq!(metrics.status, 200);
    metrics
}

#[tokio::test]
async fn one_address_cannot_have_all_connections() {
    let server = Server::start().await;
    for begun in ["", "GET /metrics HTTP/1.1\r\nhost:", "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut held = Vec::new();
        for _ in 0..80 {
            let mut stream = server.connect_from(ATTACKER).await;
            // It may have had to make way already.
            let _ = stream.write_all(begun.as_bytes()).await;
            held.push(stream);
        }
        let metrics = watch(&server).await;
        assert!(metrics.value("wzp_http_connections") <= 18.0, "16, and two that are ending");
        assert!(metrics.aborted("share") >= 64.0 && metrics.aborted("crowded") == 0.0);
    }
}

#[tokio::test]
async fn a_newcomer_gets_in_when_many_addresses_hold_all_connections() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for host in 0..64 {
        held.push(server.connect_from(ATTACKER + host).await);
    }
    let metrics = watch(&server).await;
    assert!((1.0..=3.0).contains(&metrics.aborted("crowded")), "one for each that came");
    // Those who were there first.
    let mut oldest = held.swap_remove(0);
    assert_eq!(soon(oldest.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn answers_that_nobody_reads_do_not_pile_up() {
    let limits = Limits { send: Duration::from_millis(300), ..limits() };
    let server = Server::within(limits, None).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let (mut unread, mut asks) = socket.connect(server.address).await.unwrap().into_split();
    let flood = tokio::spawn(async move {
        let requests = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
        while asks.write_all(requests.as_bytes()).await.is_ok() {}
    });
    // It ends although nothing of it is read, and hours before the client does.
    soon(flood).await.unwrap();
    let metrics = watch(&server).await;
    assert_eq!(metrics.aborted("unread"), 1.0);
    assert_eq!(metrics.aborted("age"), 0.0);
    let mut rest = Vec::new();
    // Reset, or the few answers that were on their way.
    let _ = soon(unread.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_request() {
    const REQUESTS: usize = 2000;
    let server = Server::within(Limits { request: SHORT, ..limits() }, None).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let (mut reads, mut asks) = socket.connect(server.address).await.unwrap().into_split();
    // More than the kernel keeps: twelve megabytes.
    let asks = tokio::spawn(async move {
        let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
        asks.write_all(request.repeat(REQUESTS).as_bytes()).await.unwrap();
        asks
    });
    tokio::time::sleep(3 * SHORT).await;
    let mut answers = Vec::new();
    // Until nothing more is asked for.
    timeout(10 * SOON, reads.read_to_end(&mut answers)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK").count(), REQUESTS);
    drop(asks.await.unwrap());
    assert_eq!(server.get("/metrics").await.aborted("unread"), 0.0);
}

#[tokio::test]
async fn those_who_guess_passwords_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let patient = Duration::from_secs(120);
    let limits = Limits { tries_per_minute: 2, answer: patient, ..limits() };
    let server = Server::within(limits, Some(one_user(&folder))).await;
    let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let mut guessers = tokio::task::JoinSet::new();
    for host in 0..60 {
        let stream = server.connect_from(ATTACKER + host).await;
        let refused = refused.clone();
        guessers.spawn(async move {
            let guess = format!("Basic {}", STANDARD.encode(format!("anna:guess {host}")));
            let answer = ask(stream, Method::GET, "/metrics", &[("authorization", &guess)]).await;
            let _ = refused.send(answer.status);
        });
    }
    // The others wait for their turn by now.
    for _ in 0..3 {
        assert_eq!(refusals.recv().await, Some(401));
    }
    let right = format!("Basic {}", STANDARD.encode("anna:secret"));
    let fields = [("authorization", &*right)];
    assert_eq!(server.ask(Method::GET, "/ready", &fields).await.status, 200);
    // In turn it would have been the last.
    assert!(refusals.len() < 30, "{} were before it", refusals.len());
    for page in ["/health", "/metrics"] {
        assert_eq!(soon(server.ask(Method::GET, page, &fields)).await.status, 200, "{page}");
    }
    // Nor does it wait where somebody at its own address has guessed too often.
    let wrong = format!("Basic {}", STANDARD.encode("anna:wrong"));
    let limited = loop {
        let answer = server.ask(Method::GET, "/ready", &[("authorization", &*wrong)]).await;
        if answer.status != 401 {
            break answer;
        }
    };
    assert_eq!(limited.status, 429);
    assert!(limited.field("retry-after").unwrap().parse::<u64>().unwrap() <= 30, "one in 30 s");
    let metrics = soon(server.ask(Method::GET, "/metrics", &fields)).await;
    assert_eq!(metrics.value("wzp_http_refused_requests_total{reason=\"tries\"}"), 1.0);
}

/// A file with one user, anna, whose password is secret.
fn one_user(folder: &tempfile::TempDir) -> WebConfig {
    let path = folder.path().join("web.yml");
    let hash = bcrypt::hash("secret", 10).unwrap();
    std::fs::write(&path, format!("basic_auth_users:\n  anna: {hash}\n")).unwrap();
    WebConfig::load(&path).unwrap()
}

#[tokio::test]
async fn those_who_guess_from_many_addresses_do_not_take_a_newcomers_place() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { answer: Duration::from_secs(120), ..limits() };
    let server = Server::within(limits, Some(one_user(&folder))).await;
    let right = format!("Basic {}", STANDARD.encode("anna:secret"));
    let fields = [("authorization", &*right)];
    assert_eq!(server.ask(Method::GET, "/ready", &fields).await.status, 200);
    // More than there are places, all of whom wait for a check.
    let mut held = Vec::new();
    let mut guess_from = async |hosts: std::ops::Range<u32>| {
        for host in hosts {
            let mut stream = server.connect_from(ATTACKER + host).await;
            let guess = STANDARD.encode(format!("anna:guess {host}"));
            let request =
                format!("GET /ready HTTP/1.1\r\nhost: x\r\nauthorization: Basic {guess}\r\n\r\n");
            // It may have had to make way already.
            let _ = stream.write_all(request.as_bytes()).await;
            held.push(stream);
        }
    };
    guess_from(0..100).await;
    let slow = server.connect().await;
    // As long as they come before it has asked.
    guess_from(100..250).await;
    assert_eq!(soon(ask(slow, Method::GET, "/metrics", &fields)).await.status, 200);
}

#[tokio::test]
async fn those_who_ask_from_many_addresses_do_not_take_a_newcomers_place() {
    let server = Server::start().await;
    let mut held = Vec::new();
    let slow = server.connect().await;
    // Each of them is answered at once, or is silent.
    for host in 0..250 {
        let mut stream = server.connect_from(ATTACKER + host).await;
        if host % 2 == 0 {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
        }
        held.push(stream);
    }
    assert_eq!(soon(ask(slow, Method::GET, "/metrics", &[])).await.status, 200);
}

#[test]
fn neighbours_in_a_network_count_as_one() {
    let cases = [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::"),
        ("::1", "::", "::"),
    ];
    for (address, counted, network) in cases {
        let household = household(address.parse().unwrap());
        assert_eq!(household, counted.parse::<IpAddr>().unwrap());
        assert_eq!(household.network(), network.parse::<IpAddr>().unwrap());
    }
}
