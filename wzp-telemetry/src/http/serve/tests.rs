use std::io::Read;

use flate2::read::GzDecoder;
use hyper::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::health::{Check, Consequence, Phase};
use crate::http::testing::{Server, limits};

/// So short that a test need not wait, for what is to run out.
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn each_page_is_what_it_should_be() {
    let server = Server::start().await;
    let cases = [
        (Method::GET, "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        (Method::GET, "/metrics?format=json", 200, "application/json"),
        (
            Method::GET,
            "/metrics?x=y&format=openmetrics",
            200,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (Method::GET, "/metrics?format=xml", 400, "text/plain; charset=utf-8"),
        (Method::GET, "/health", 200, "application/json"),
        (Method::GET, "/ready", 200, "application/json"),
        (Method::GET, "/", 200, "text/html; charset=utf-8"),
        (Method::GET, "/metrics/", 404, "text/plain; charset=utf-8"),
        (Method::POST, "/metrics", 405, "text/plain; charset=utf-8"),
        (Method::HEAD, "/health", 200, "application/json"),
    ];
    for (method, path, status, kind) in cases {
        let answer = server.ask(method.clone(), path, &[]).await;
        let told = (answer.status, answer.field("content-type"));
        assert_eq!(told, (status, Some(kind)), "{method} {path}");
        assert_eq!(answer.body.is_empty(), method == Method::HEAD, "{method} {path}");
    }
    let metrics = server.get("/metrics").await;
    for (reason, count) in [("query", 1.0), ("path", 1.0), ("method", 1.0), ("late", 0.0)] {
        let series = format!("wzp_http_refused_requests_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics.value(&series), count, "{reason}");
    }
    assert_eq!(server.ask(Method::POST, "/", &[]).await.field("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn the_form_follows_the_accept_header() {
    let server = Server::start().await;
    let accept = [("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")];
    let answer = server.ask(Method::GET, "/metrics", &accept).await;
    assert!(answer.text().ends_with("# EOF\n"), "{}", answer.text());
    assert_eq!(answer.field("vary"), Some("Accept, Accept-Encoding"));
    let json = server.ask(Method::GET, "/metrics", &[("accept", "application/json")]).await;
    assert!(serde_json::from_slice::<Value>(&json.body).unwrap().is_array());
}

#[tokio::test]
async fn long_bodies_are_compressed_for_who_takes_it() {
    let server = Server::start().await;
    let gzip = [("accept-encoding", "gzip")];
    let answer = server.ask(Method::GET, "/metrics", &gzip).await;
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    let mut text = String::new();
    GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("test_reads_total 1\n") && text.len() > 2 * answer.body.len());
    assert_eq!(server.get("/metrics").await.field("content-encoding"), None);
    let short = server.ask(Method::GET, "/ready", &gzip).await;
    assert_eq!(short.field("content-encoding"), None);
}

#[tokio::test]
async fn a_health_listener_shows_health_alone() {
    let server = Server::health("/healthz").await;
    for (path, status) in [("/healthz", 200), ("/ready", 200), ("/health", 404), ("/metrics", 404)]
    {
        let answer = server.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        if status == 404 {
            assert_eq!(answer.text(), "there is /healthz and /ready\n");
        }
    }
    let front = server.get("/").await;
    assert!(front.text().contains("/healthz") && !front.text().contains("/metrics"));
}

#[tokio::test]
async fn probes_learn_from_the_status_what_to_do() {
    let server = Server::health("/health").await;
    let failed = |consequence| Check::failed("network", consequence, "the reason");
    let cases = [
        (Phase::Serving, Check::ok("network"), "healthy", 200, 200),
        (Phase::Serving, failed(Consequence::Degraded), "degraded", 200, 200),
        (Phase::Serving, failed(Consequence::NotReady), "degraded", 200, 503),
        (Phase::Serving, failed(Consequence::Unhealthy), "unhealthy", 503, 503),
        (Phase::Starting, Check::ok("network"), "starting", 200, 503),
        (Phase::Draining, Check::ok("network"), "draining", 200, 503),
    ];
    for (phase, check, word, live, ready) in cases {
        *server.program.report.lock() = Some((phase, check.clone()));
        // A report is shared for as long as it took to make.
        let answer = loop {
            let answer = server.get("/health").await;
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            if body["status"] == word {
                break answer;
            }
        };
        assert_eq!(answer.status, live, "{phase:?} {check:?}");
        assert_eq!(server.get("/ready").await.status, ready, "{phase:?} {check:?}");
    }
}

#[tokio::test]
async fn half_a_request_is_cut_off() {
    let server = Server::within(Limits { request: SHORT, ..limits() }, None).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: te").await.unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.value("wzp_http_aborted_connections_total{reason=\"request\"}"), 1.0);
}

#[tokio::test]
async fn a_client_that_asks_nothing_more_is_let_go_and_not_blamed() {
    let server = Server::within(Limits { request: SHORT, ..limits() }, None).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /ready HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    idle.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.value("wzp_http_aborted_connections_total{reason=\"request\"}"), 0.0);
}

#[tokio::test]
async fn metrics_that_take_too_long_are_refused_and_read_once() {
    let server = Server::within(Limits { answer: SHORT, ..limits() }, None).await;
    let (program, (held, release)) = (server.program.clone(), std::sync::mpsc::channel::<()>());
    let (locked, is_locked) = oneshot::channel();
    let holder = std::thread::spawn(move || {
        let _gate = program.gate.lock();
        locked.send(()).unwrap();
        let _ = release.recv();
    });
    is_locked.await.unwrap();
    for _ in 0..3 {
        let late = server.get("/metrics").await;
        assert_eq!((late.status, late.field("retry-after")), (503, Some("10")));
        assert_eq!(server.get("/health").await.status, 200, "health does not wait for metrics");
    }
    drop(held);
    holder.join().unwrap();
    // One reading was for those who gave up, however many; a second is new.
    let metrics = loop {
        let answer = server.get("/metrics").await;
        if answer.status == 200 && answer.value("test_reads_total") > 1.0 {
            break answer;
        }
    };
    assert_eq!(metrics.value("test_reads_total"), 2.0);
    assert!(metrics.value("wzp_http_refused_requests_total{reason=\"late\"}") >= 3.0);
}

#[tokio::test]
async fn a_connection_is_not_kept_for_ever() {
    let server = Server::within(Limits { connection: SHORT, ..limits() }, None).await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}
