//! The admin socket: HTTP over a Unix socket that only the relay's own user and
//! root can open. `wzp-relay ctl` is its client.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};
use wzp_telemetry::panics::supervised;

use super::api::{self, Refusal};
use super::control::Control;
use super::operator::Operator;

/// The socket's name in the state directory.
pub const FILE: &str = "admin.sock";

/// A relay that does not answer in this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is being answered when the relay ends has this long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Longest answer: 100,000 flows.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Longest request.
const MAX_REQUEST: usize = 64 * 1024;

/// Opens the socket. One that a dead relay left behind is replaced.
///
/// # Errors
/// A relay is there already, or the place is not writable.
pub fn bind(path: &Path) -> Result<Listener> {
    let problem = || format!("cannot open the admin socket {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(problem)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => bail!(
            "another relay uses the state directory: its admin socket {} answers; \
             choose another one with --state-dir",
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(path).with_context(problem)?,
    }
    let listener = UnixListener::bind(path).with_context(problem)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(problem)?;
    Ok(Listener { listener, path: path.to_owned() })
}

/// The open socket; its file goes when this is dropped.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nobody is left to tell if it has gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves until `end` is dropped, and finishes what it is answering then: that
/// may be the very request that ended the relay.
pub async fn serve(listener: Listener, control: Arc<Control>, end: oneshot::Receiver<()>) {
    let answers = GracefulShutdown::new();
    tokio::select! {
        () = supervised(|| accept(&listener.listener, &control, &answers)) => {}
        _ = end => {}
    }
    drop(listener);
    // Who does not read delays the end no longer than this.
    let _ = timeout(LAST_ANSWERS, answers.shutdown()).await;
}

/// Serves whoever connects, for ever.
async fn accept(listener: &UnixListener, control: &Arc<Control>, answers: &GracefulShutdown) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection to the admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Whom the kernel cannot name is not served.
        let Ok(peer) = stream.peer_cred() else { continue };
        let control = control.clone();
        let service = service_fn(move |request| {
            let control = control.clone();
            async move { Ok::<_, Infallible>(respond(request, control, peer.uid()).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let connection = answers.watch(connection);
        tokio::spawn(async move {
            if let Ok(Err(error)) = timeout(PATIENCE, connection).await {
                debug!(%error, "connection to the admin socket ended");
            }
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    control: Arc<Control>,
    uid: u32,
) -> Response<Full<Bytes>> {
    let (status, body) = match outcome(request, control, uid).await {
        Ok(body) => (StatusCode::OK, body),
        Err((status, sentence)) => (status, json!({ "error": sentence })),
    };
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn outcome(
    request: Request<Incoming>,
    control: Arc<Control>,
    uid: u32,
) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    if head.method == Method::GET {
        return api::look(&control, head.uri.path());
    }
    let body = Limited::new(body, MAX_REQUEST).collect().await;
    let body = body.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?.to_bytes();
    // The name may come over a network, and the audit log waits for its disk.
    let acts = move || api::act(&control, &Operator::of(uid), &head.method, head.uri.path(), &body);
    let acted = tokio::task::spawn_blocking(acts).await;
    acted.unwrap_or_else(|error| Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
}

/// Why there is no answer to a question.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens, or this user may not ask.
    #[error(
        "no relay answers at {}: {reason}; give the relay's own --state-dir, or run this as its user or root",
        path.display()
    )]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The relay's own sentence about what it refuses.
    #[error("{0}")]
    Refused(String),
    /// The relay hangs, ended in the middle, or is of another version.
    #[error("the relay gave no answer that makes sense: {0}")]
    Broken(String),
}

/// Asks the relay behind `socket`; `order` goes with the question.
///
/// # Errors
/// Any [`AskError`].
pub async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    order: &(impl Serialize + Sync),
) -> Result<T, AskError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|reason| AskError::Absent { path: socket.into(), reason })?;
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "relay")
            .body(Full::<Bytes>::new(serde_json::to_vec(order)?.into()))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("it broke off: {error}"))?;
        Ok((status, body.to_bytes()))
    };
    let broken = |error: &dyn std::fmt::Display| AskError::Broken(error.to_string());
    let (status, body) = timeout(PATIENCE, exchange)
        .await
        .map_err(|_| broken(&"it did not come in time"))?
        .map_err(|error: anyhow::Error| broken(&error))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| broken(&error));
    }
    let refusal: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    Err(AskError::Refused(refusal["error"].as_str().unwrap_or("it did not say why").to_owned()))
}
