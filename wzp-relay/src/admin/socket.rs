//! The admin socket: HTTP over a Unix socket that only the relay's own user
//! can open. `wzp-relay flows`, `block` and `unblock` are its clients.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::kernel::Accounts;

/// The socket's name in the state directory.
pub const FILE: &str = "admin.sock";

/// A relay that does not answer in this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer: 100,000 flows.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

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

/// Serves until dropped.
pub async fn serve(listener: Listener, accounts: Accounts) {
    let accounts = Arc::new(accounts);
    loop {
        let stream = match listener.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection to the admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let accounts = accounts.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let accounts = accounts.clone();
                async move { Ok::<_, Infallible>(answer(request, &accounts)) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(PATIENCE, connection).await {
                debug!(%error, "connection to the admin socket ended");
            }
        });
    }
}

fn answer(request: Request<Incoming>, accounts: &Accounts) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let blocked = path.strip_prefix("/block/").map(str::parse::<IpAddr>);
    let outcome = match (request.method(), blocked) {
        (&Method::GET, None) if path == "/flows" => flows(accounts),
        (&Method::PUT, Some(Ok(ip))) => block(accounts, ip, true),
        (&Method::DELETE, Some(Ok(ip))) => block(accounts, ip, false),
        (_, Some(Err(_))) => Err("that is not an IP address".to_owned()),
        _ => Err("there is GET /flows, PUT /block/IP and DELETE /block/IP".to_owned()),
    };
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(sentence) => (StatusCode::BAD_REQUEST, sentence),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn flows(accounts: &Accounts) -> Result<String, String> {
    if !accounts.counts_rooms() {
        return Err(
            "the kernel does not count packets of this relay; start it with --interface".into()
        );
    }
    serde_json::to_string(&accounts.flows()).map_err(|error| error.to_string())
}

fn block(accounts: &Accounts, ip: IpAddr, blocked: bool) -> Result<String, String> {
    accounts.set_blocked(ip, blocked).map_err(|error| error.to_string())?;
    info!(src_ip = %ip, blocked, "block list changed");
    Ok(String::new())
}

/// Asks the relay behind `socket`.
///
/// # Errors
/// No relay is there, or its own sentence about what it refuses.
pub async fn ask(socket: &Path, method: Method, path: &str) -> Result<Bytes> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "no relay answers at {}; give the relay's own --state-dir, or run this as its user",
            socket.display()
        )
    })?;
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "relay")
            .body(Full::<Bytes>::default())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("its answer broke off: {error}"))?;
        Ok((status, body.to_bytes()))
    };
    let (status, body) = timeout(PATIENCE, exchange)
        .await
        .context("the relay did not answer in time")?
        .map_err(|error: anyhow::Error| error.context("the relay broke off"))?;
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
