//! `/metrics`, `/health` and `/ready` over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::metrics::{Metrics, Sources};
use crate::net::without_ipv6;

/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS: usize = 64;

/// From one request's start to its answer, and between two requests.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection may be used again for so long.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

/// Why there is no metrics listener.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error(
        "cannot serve metrics on TCP {0}: the port is in use (9090 is also Prometheus' own); choose another one with --metrics-port"
    )]
    InUse(SocketAddr),
    /// Anything else.
    #[error("cannot serve metrics on TCP {0}: {1}")]
    Other(SocketAddr, std::io::Error),
}

/// Opens the listener. `[::]` falls back to `0.0.0.0` on hosts without IPv6.
///
/// # Errors
/// [`ListenError`] with the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let result = match TcpListener::bind(address).await {
        Err(error) => match without_ipv6(address, &error) {
            Some(instead) => TcpListener::bind(instead).await,
            None => Err(error),
        },
        bound => bound,
    };
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Other(address, error),
    })
}

/// What the endpoints show.
pub struct Pages {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/health` and `/ready`.
    pub sources: Sources,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed, so there is always a permit in the end.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: trying again at once would only spin.
                warn!(%error, "cannot accept a connection to the metrics listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, pages.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(CONNECTION_LIFE, connection).await {
                debug!(%error, "connection to the metrics listener ended");
            }
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    pages: Arc<Pages>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal =
            page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are allowed here\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refusal);
    }
    Ok(match request.uri().path() {
        "/metrics" => metrics(pages).await,
        "/health" => health(&pages.sources),
        "/ready" => ready(&pages.sources),
        _ => page(StatusCode::NOT_FOUND, TEXT, "there is /metrics, /health and /ready\n"),
    })
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn metrics(pages: Arc<Pages>) -> Response<Full<Bytes>> {
    // Adding up thousands of rooms takes a while; signals must not wait for it.
    let gathered = tokio::task::spawn_blocking(move || pages.metrics.text());
    match timeout(PATIENCE, gathered).await {
        Ok(Ok(Ok(text))) => page(StatusCode::OK, prometheus::TEXT_FORMAT, text),
        Ok(Ok(Err(error))) => failed(&error.to_string()),
        Ok(Err(error)) => failed(&error.to_string()),
        Err(_) => failed("it took too long"),
    }
}

fn failed(reason: &str) -> Response<Full<Bytes>> {
    warn!(reason, "metrics could not be gathered");
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        TEXT,
        format!("metrics could not be gathered: {reason}\n"),
    )
}

/// Alive as long as it can answer, draining or not: a draining relay must not
/// be restarted by whoever watches it.
fn health(sources: &Sources) -> Response<Full<Bytes>> {
    let body = json!({
        "status": if sources.is_ready() { "healthy" } else { "draining" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": sources.started.elapsed().as_secs(),
        "connections": sources.admission.population().sessions,
    });
    page(StatusCode::OK, JSON, format!("{body}\n"))
}

/// Whether new sessions may be sent here.
fn ready(sources: &Sources) -> Response<Full<Bytes>> {
    let ready = sources.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page(status, JSON, format!("{}\n", json!({ "ready": ready })))
}
