//! Connections to a listener, and the rules that hold for all pages.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderName, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::compress;
use super::site::{Page, Site, TEXT};
use super::traffic::{Abort, Refusal, Traffic};
use super::web_config::{Protection, WebConfig};
use crate::panics::supervised;

/// How much clients get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections served at once; further ones wait to be accepted.
    pub(super) connections: usize,
    /// For a TLS handshake, and from the end of one request to the head of the
    /// next.
    pub(super) request: Duration,
    /// From the head of a request to its answer.
    pub(super) answer: Duration,
    /// A connection may be used again for so long.
    pub(super) connection: Duration,
}

pub(super) const LIMITS: Limits = Limits {
    connections: 64,
    // Below the usual intervals of 10 seconds and more, so that no connection
    // is closed in the moment in which it is used again.
    request: Duration::from_secs(7),
    // Prometheus waits for 10 seconds.
    answer: Duration::from_secs(9),
    connection: Duration::from_secs(300),
};

/// What all connections of a listener share.
pub(super) struct Listening {
    pub(super) site: Site,
    pub(super) traffic: Arc<Traffic>,
    pub(super) web_config: Option<WebConfig>,
    pub(super) limits: Limits,
}

/// Serves until dropped. With a `web_config` all pages are protected by it.
pub async fn serve(
    listener: TcpListener,
    site: Site,
    traffic: Arc<Traffic>,
    web_config: Option<WebConfig>,
) {
    let listening = Arc::new(Listening { site, traffic, web_config, limits: LIMITS });
    supervised(|| listening.clone().run(&listener)).await;
}

impl Listening {
    pub(super) async fn run(self: Arc<Self>, listener: &TcpListener) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors: trying again at once would only spin.
                    warn!(%error, "cannot accept a connection to the metrics listener");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(place) = self.place(&places).await else { return };
            tokio::spawn(self.clone().connection(stream, place));
        }
    }

    /// `None` never comes: the semaphore is not closed.
    async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        match places.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                self.traffic.crowded();
                places.clone().acquire_owned().await.ok()
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let _open = self.traffic.open();
        let protection = self.web_config.as_ref().map(WebConfig::current);
        let acceptor = protection.as_ref().and_then(|protection| protection.tls.clone());
        match acceptor {
            None => self.clone().converse(stream, protection).await,
            Some(acceptor) => match timeout(self.limits.request, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.clone().converse(stream, protection).await,
                failed => {
                    let error = failed.err().map_or("refused", |_| "too slow");
                    debug!(error, "TLS handshake with the metrics listener failed");
                    self.traffic.abort(Abort::Tls);
                }
            },
        }
    }

    async fn converse<S>(self: Arc<Self>, stream: S, protection: Option<Arc<Protection>>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answered = AtomicBool::new(false);
        let service = service_fn(|request| {
            answered.store(true, Ordering::Relaxed);
            let (listening, protection) = (self.clone(), protection.clone());
            async move { Ok::<_, Infallible>(listening.answer(&request, protection).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.request)
            .serve_connection(TokioIo::new(stream), service);
        match timeout(self.limits.connection, connection).await {
            Ok(Ok(())) => {}
            // It has what it wanted and did not ask for more in time.
            Ok(Err(error)) if error.is_timeout() && answered.load(Ordering::Relaxed) => {}
            Ok(Err(error)) => {
                debug!(%error, "connection to the metrics listener ended");
                self.traffic.abort(Abort::Request);
            }
            Err(_) => self.traffic.abort(Abort::Age),
        }
    }

    async fn answer(
        &self,
        request: &Request<Incoming>,
        protection: Option<Arc<Protection>>,
    ) -> Response<Full<Bytes>> {
        let mut extra = Vec::new();
        let page = match self.page(request, protection).await {
            Ok(page) => page,
            Err((refusal, page)) => {
                self.traffic.refuse(refusal);
                extra.extend(field(refusal));
                page
            }
        };
        let accepted = request.headers().get(ACCEPT_ENCODING);
        let accepted = accepted.and_then(|value| value.to_str().ok());
        let mut body = page.body;
        if compress::is_wanted(accepted, body.len()) {
            let plain = body.clone();
            if let Ok(compressed) = spawn_blocking(move || compress::gzip(&plain)).await {
                body = compressed;
                extra.push((CONTENT_ENCODING, "gzip"));
            }
        }
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = page.status;
        let fields = [
            (CONTENT_TYPE, page.content_type),
            (VARY, "Accept, Accept-Encoding"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        for (name, value) in fields.into_iter().chain(extra) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn page(
        &self,
        request: &Request<Incoming>,
        protection: Option<Arc<Protection>>,
    ) -> Result<Page, (Refusal, Page)> {
        let refuse = |refusal, status, sentence| Err((refusal, Page::new(status, TEXT, sentence)));
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let sentence = "only GET and HEAD are allowed here\n";
            return refuse(Refusal::Method, StatusCode::METHOD_NOT_ALLOWED, sentence);
        }
        let page = async {
            if let Some(protection) = protection {
                let given = request.headers().get(AUTHORIZATION);
                let given = given.and_then(|value| value.to_str().ok());
                if !protection.users.admit(given).await {
                    let sentence = "a user of basic_auth_users and the password are needed\n";
                    return refuse(Refusal::Unauthorized, StatusCode::UNAUTHORIZED, sentence);
                }
            }
            self.site.page(request.uri(), request.headers()).await
        };
        timeout(self.limits.answer, page).await.unwrap_or_else(|_| {
            warn!(path = request.uri().path(), "a page took too long");
            let sentence = "it took too long\n";
            refuse(Refusal::Late, StatusCode::SERVICE_UNAVAILABLE, sentence)
        })
    }
}

/// The header field that tells a client what to do about a refusal.
fn field(refusal: Refusal) -> Option<(HeaderName, &'static str)> {
    match refusal {
        Refusal::Method => Some((ALLOW, "GET, HEAD")),
        Refusal::Unauthorized => Some((WWW_AUTHENTICATE, "Basic realm=\"metrics\"")),
        Refusal::Late => Some((RETRY_AFTER, "10")),
        Refusal::Path | Refusal::Query | Refusal::Failed => None,
    }
}

#[cfg(test)]
mod tests;
