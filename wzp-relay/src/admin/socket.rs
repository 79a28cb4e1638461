//! The admin socket: HTTP over a Unix socket that only the relay's own user and
//! root can open. `wzp-relay ctl` is its client.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};
use wzp_telemetry::http::{Places, Share};
use wzp_telemetry::log::target;
use wzp_telemetry::metrics::{Abort, Traffic};
use wzp_telemetry::panics::supervised;
use wzp_telemetry::probe;

use super::api::{self, Refusal};
use super::control::Control;
use crate::audit::Operator;
use crate::events::Lines;

/// A relay that does not answer in this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is being answered when the relay ends has this long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Longest answer: 100,000 flows.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Longest request.
const MAX_REQUEST: usize = 64 * 1024;

/// Connections at once, and those of one process: `ctl` has one. Another one takes the
/// place of the one that has gone longest without an answer.
pub(crate) const PLACES: Share = Share { all: 32, each: 8 };

/// Opens the socket. One that a dead relay left behind is replaced.
///
/// # Errors
/// A relay is there already, or the place is not writable.
pub fn bind(path: &Path) -> Result<Listener> {
    let problem = || format!("cannot open the admin socket {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(problem)?;
    }
    match occupant(path).with_context(problem)? {
        Occupant::Nobody => {}
        Occupant::DeadRelay => std::fs::remove_file(path).with_context(problem)?,
        Occupant::Relay(_) => bail!(
            "another relay uses the state directory: its admin socket {} answers; \
             choose another one with --state-dir",
            path.display()
        ),
    }
    let address = Address::of(path).with_context(problem)?;
    let listener = UnixListener::bind(&address.path).with_context(problem)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(problem)?;
    Ok(Listener { listener, path: path.to_owned() })
}

/// Who is where an admin socket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// There is no such file.
    Nobody,
    /// A socket that nobody listens on any more.
    DeadRelay,
    /// A relay that runs, and its process if the kernel tells.
    Relay(Option<u32>),
}

/// Looks who that is.
///
/// # Errors
/// It is no socket, or this user may not ask.
pub fn occupant(path: &Path) -> io::Result<Occupant> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nobody),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("what is there is no socket; move it away"));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One that hangs answers nobody, and is there.
    socket.set_nonblocking(true)?;
    let address = Address::of(path)?;
    match socket.connect(&SockAddr::unix(&address.path)?) {
        Ok(()) => {
            // That of another container has no number here.
            let peer = getsockopt(&socket, PeerCredentials);
            let pid = peer.ok().and_then(|peer| u32::try_from(peer.pid()).ok());
            Ok(Occupant::Relay(pid.filter(|pid| *pid > 0)))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Occupant::Relay(None)),
            io::ErrorKind::ConnectionRefused => Ok(Occupant::DeadRelay),
            _ => Err(error),
        },
    }
}

/// Whether [`bind`] would do at this moment, where no relay is. Makes nothing.
///
/// # Errors
/// Those of [`bind`].
pub fn check(path: &Path) -> Result<Occupant> {
    let problem = || format!("cannot open the admin socket {}", path.display());
    let occupant = occupant(path).with_context(problem)?;
    probe::folder(path.parent().unwrap_or(path)).with_context(problem)?;
    Ok(occupant)
}

/// What the system takes for a socket's path. It takes 107 bytes (unix(7)); a longer one
/// is said by way of its folder, held open: `/proc/self/fd/N/admin.sock`.
struct Address<'a> {
    path: Cow<'a, Path>,
    /// The path is good while this is open.
    _folder: Option<OwnedFd>,
}

impl<'a> Address<'a> {
    /// Longest path in an address, without the byte that ends it.
    const LONGEST: usize = 107;

    fn of(path: &'a Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.as_os_str().len() <= Self::LONGEST {
            return Ok(Self { path: path.into(), _folder: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let way = format!("/proc/self/fd/{}", folder.as_raw_fd());
        Ok(Self { path: Path::new(&way).join(name).into(), _folder: Some(folder) })
    }
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
pub async fn serve(
    listener: Listener,
    control: Arc<Control>,
    traffic: Arc<Traffic>,
    end: oneshot::Receiver<()>,
) {
    let answers = GracefulShutdown::new();
    let places = Places::new(PLACES);
    tokio::select! {
        () = supervised(|| accept(&listener.listener, &control, &traffic, &places, &answers)) => {}
        _ = end => {}
    }
    drop(listener);
    control.followers.end();
    // Who does not read delays the end no longer than this.
    let _ = timeout(LAST_ANSWERS, answers.shutdown()).await;
}

/// Serves whoever connects, for ever.
async fn accept(
    listener: &UnixListener,
    control: &Arc<Control>,
    traffic: &Arc<Traffic>,
    places: &Arc<Places<i32>>,
    answers: &GracefulShutdown,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(target: target::ADMIN, %error, "cannot accept a connection to the admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Whom the kernel cannot name is not served.
        let Ok(peer) = stream.peer_cred() else { continue };
        let control = control.clone();
        // A process of another container has no number here.
        let (place, lost) = places.take(peer.pid().unwrap_or_default());
        let place = Arc::new(place);
        let open = traffic.open();
        let follows = Arc::new(AtomicBool::new(false));
        let following = follows.clone();
        let service = service_fn(move |request| {
            let (control, place, follows) = (control.clone(), place.clone(), follows.clone());
            async move {
                place.asked();
                let response = respond(request, control, peer.uid()).await;
                match response.body() {
                    Either::Left(_) => place.answered(),
                    // What follows the head is an answer, too, and never done.
                    Either::Right(_) => follows.store(true, Ordering::Relaxed),
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let connection = answers.watch(connection);
        let traffic = traffic.clone();
        tokio::spawn(async move {
            let _open = open;
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    debug!(target: target::ADMIN, %error, "connection to the admin socket ended");
                },
                () = too_old(&following) => traffic.abort(Abort::Age),
                Ok(why) = lost => traffic.abort(why.into()),
            }
        });
    }
}

/// Waits until a connection has had its time, which who follows is not limited to.
async fn too_old(follows: &AtomicBool) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        if !follows.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// A whole answer, or lines as they come.
type Answer = Response<Either<Full<Bytes>, Lines>>;

async fn respond(request: Request<Incoming>, control: Arc<Control>, uid: u32) -> Answer {
    let outcome = match (request.method(), request.uri().path()) {
        (&Method::GET, api::EVENTS) => match api::follow(&control) {
            Ok(lines) => return answer(StatusCode::OK, LINES, Either::Right(lines)),
            Err(refusal) => Err(refusal),
        },
        _ => outcome(request, control, uid).await,
    };
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err((status, sentence)) => (status, json!({ "error": sentence })),
    };
    // Strings and numbers always become JSON.
    let body = wzp_untrusted::json::to_string(&body).unwrap_or_default();
    answer(status, "application/json", Either::Left(Full::new(body.into())))
}

/// One JSON object a line.
const LINES: &str = "application/x-ndjson";

fn answer(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Lines>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn outcome(
    request: Request<Incoming>,
    control: Arc<Control>,
    uid: u32,
) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST).collect().await;
    let body = body.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?.to_bytes();
    // A list may be long, a user's name may come over a network, and the audit log waits
    // for its disk.
    let answers = move || match head.method {
        Method::GET => api::look(&control, head.uri.path()),
        method => api::act(&control, &Operator::of(uid), &method, head.uri.path(), &body),
    };
    let answered = tokio::task::spawn_blocking(answers).await;
    answered.unwrap_or_else(|error| Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
}

/// Why there is no answer to a question.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens, or this user may not ask.
    #[error(
        "no relay answers at {}: {}",
        path.display(), remedy(reason)
    )]
    Absent {
        /// The socket that was tried.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Somebody listens there, and says nothing.
    #[error(
        "the relay at {} has not answered within {} seconds: it hangs, or is stopped; see \
         its log, and `systemctl status` or `ps`",
        .0.display(), PATIENCE.as_secs()
    )]
    Late(PathBuf),
    /// The relay's own sentence about what it refuses.
    #[error("{0}")]
    Refused(String),
    /// The relay ended in the middle, or is of another version.
    #[error("the relay gave no answer that makes sense: {0}")]
    Broken(String),
}

/// What the system said, and what is to be done.
fn remedy(reason: &io::Error) -> String {
    let what = match reason.kind() {
        io::ErrorKind::NotFound => {
            "no such socket; without --state-dir each user has another one: for a relay that a \
             package installed, or root started, run this by sudo, for another give its --state-dir"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not ask; run this as the relay's user or root (sudo)"
        }
        io::ErrorKind::ConnectionRefused => {
            "the relay has ended; start it, or give another's --state-dir"
        }
        _ => {
            return format!(
                "{reason}; give the relay's own --state-dir, or run this as its user or root"
            );
        }
    };
    what.to_owned()
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
    let stream = connect(socket).await?;
    let exchange = async {
        let response = send(stream, method, path, order).await?;
        read_whole(response).await
    };
    let body = timeout(PATIENCE, exchange).await.map_err(|_| AskError::Late(socket.into()))??;
    serde_json::from_slice(&body).map_err(broken)
}

/// Follows what `path` tells, until the relay ends it: `told` gets each piece as it comes.
///
/// # Errors
/// Any [`AskError`], or that of `told`.
pub async fn follow(
    socket: &Path,
    path: &str,
    mut told: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let stream = connect(socket).await?;
    let begun = timeout(PATIENCE, send(stream, Method::GET, path, &()));
    let response = begun.await.map_err(|_| AskError::Late(socket.into()))??;
    if !response.status().is_success() {
        read_whole(response).await?;
        return Ok(());
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(broken)?.into_data() {
            told(&piece)?;
        }
    }
    Ok(())
}

async fn connect(socket: &Path) -> Result<UnixStream, AskError> {
    let absent = |reason| AskError::Absent { path: socket.into(), reason };
    let address = Address::of(socket).map_err(absent)?;
    UnixStream::connect(&address.path).await.map_err(absent)
}

async fn send(
    stream: UnixStream,
    method: Method,
    path: &str,
    order: &(impl Serialize + Sync),
) -> Result<Response<Incoming>, AskError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let order = serde_json::to_vec(order).map_err(broken)?;
    let request = Request::builder().method(method).uri(path).header("host", "relay");
    let request = request.body(Full::<Bytes>::new(order.into())).map_err(broken)?;
    sender.send_request(request).await.map_err(broken)
}

/// The answer's content, or the relay's refusal.
async fn read_whole(response: Response<Incoming>) -> Result<Bytes, AskError> {
    let is_done = response.status().is_success();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| AskError::Broken(format!("it broke off: {error}")))?;
    let body = body.to_bytes();
    if is_done {
        return Ok(body);
    }
    let refusal: Value = serde_json::from_slice(&body).map_err(broken)?;
    Err(AskError::Refused(refusal["error"].as_str().unwrap_or("it did not say why").to_owned()))
}

fn broken(error: impl std::fmt::Display) -> AskError {
    AskError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_nobody_is_told_where_it_was_tried_and_what_to_do() {
        let cases = [
            (io::ErrorKind::NotFound, "run this by sudo, for another give its --state-dir"),
            (io::ErrorKind::PermissionDenied, "this user may not ask"),
            (io::ErrorKind::ConnectionRefused, "the relay has ended"),
            (io::ErrorKind::Other, "give the relay's own --state-dir"),
        ];
        for (kind, words) in cases {
            let path = PathBuf::from("/some/where/admin.sock");
            let text = AskError::Absent { path, reason: kind.into() }.to_string();
            assert!(text.starts_with("no relay answers at /some/where/admin.sock: "), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
}
