//! Connections to a listener, and the rules that hold for all pages.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::basic::Login;
use super::compress;
use super::logins::Logins;
use super::pace::{Overdue, Pace, Paced};
use super::places::{Lost, Owner, Place, Places, Share};
use super::site::{Page, Site, TEXT};
use super::web_config::{Protection, WebConfig};
use crate::gzip::gzip;
use crate::log::target;
use crate::metrics::{Abort, Refusal, Traffic};
use crate::panics::supervised;
use crate::{limited, settings};

/// How much clients get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once: in all, and from one address.
    pub(super) share: Share,
    /// Passwords that one address may try in a minute.
    pub(super) tries_per_minute: u32,
    /// For a TLS handshake, and from the end of one request to the head of the
    /// next.
    pub(super) request: Duration,
    /// From the head of a request to its answer.
    pub(super) answer: Duration,
    /// Until an answer has been taken.
    pub(super) send: Duration,
    /// A connection may be used again for so long.
    pub(super) connection: Duration,
}

impl Limits {
    /// Those of a listener for metrics.
    pub(super) fn of_metrics(settings: &settings::Metrics) -> Self {
        let share =
            Share { all: settings.max_connections, each: settings.max_connections_per_address };
        let tries_per_minute = settings.password_tries_per_minute;
        Self { tries_per_minute, ..Self::new(share, settings.send_timeout) }
    }

    /// Those of a listener for health, which asks for no password.
    fn of_health(settings: &settings::Health) -> Self {
        let share =
            Share { all: settings.max_connections, each: settings.max_connections_per_address };
        Self::new(share, settings.send_timeout)
    }

    fn new(share: Share, send: Duration) -> Self {
        Self {
            share,
            tries_per_minute: 1,
            // Below the usual intervals of 10 seconds and more, so that no connection
            // is closed in the moment in which it is used again.
            request: Duration::from_secs(7),
            // Prometheus waits for 10 seconds.
            answer: Duration::from_secs(9),
            send,
            connection: Duration::from_secs(300),
        }
    }
}

/// Longest head of a request, in bytes, and as much may wait to be sent in hyper.
const HEAD_BYTES: usize = 16 << 10;

/// What all connections of a listener share.
pub struct Listening {
    site: Site,
    traffic: Arc<Traffic>,
    web_config: Option<WebConfig>,
    limits: Limits,
    places: Arc<Places<IpAddr>>,
    logins: Logins,
}

impl Listening {
    /// For metrics and health. With a `web_config` all pages are protected by it.
    pub fn for_metrics(
        settings: &settings::Metrics,
        site: Site,
        traffic: Arc<Traffic>,
        web_config: Option<WebConfig>,
    ) -> Self {
        Self::new(site, traffic, web_config, Limits::of_metrics(settings))
    }

    /// For health alone.
    pub fn for_health(settings: &settings::Health, site: Site, traffic: Arc<Traffic>) -> Self {
        Self::new(site, traffic, None, Limits::of_health(settings))
    }

    pub(super) fn new(
        site: Site,
        traffic: Arc<Traffic>,
        web_config: Option<WebConfig>,
        limits: Limits,
    ) -> Self {
        let places = Places::new(limits.share);
        let logins = Logins::new(limits.tries_per_minute);
        Self { site, traffic, web_config, limits, places, logins }
    }

    /// Serves until dropped.
    pub async fn serve(self, listener: TcpListener) {
        let listening = Arc::new(self);
        supervised(|| listening.clone().accept(&listener)).await;
    }

    async fn accept(self: Arc<Self>, listener: &TcpListener) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors: trying again at once would only spin.
                    limited!(HTTP, WARN, per_minute(1), %error, "cannot accept a connection to the metrics listener");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let address = household(peer.ip());
            let (place, lost) = self.places.take(address);
            tokio::spawn(self.clone().attend(stream, address, place, lost));
        }
    }

    async fn attend(
        self: Arc<Self>,
        stream: TcpStream,
        address: IpAddr,
        place: Place<IpAddr>,
        lost: oneshot::Receiver<Lost>,
    ) {
        let _open = self.traffic.open();
        tokio::select! {
            () = self.connection(stream, address, &place) => {}
            Ok(why) = lost => self.traffic.abort(why.into()),
        }
    }

    async fn connection(&self, stream: TcpStream, address: IpAddr, place: &Place<IpAddr>) {
        let pace = Pace::new();
        let stream = Paced::new(stream, pace.clone());
        let client = Client { address, place, pace: &pace, protection: None };
        let Some(web_config) = &self.web_config else {
            return self.converse(stream, client).await;
        };
        let protection = web_config.current().await;
        let client = Client { protection: Some(&protection), ..client };
        let Some(acceptor) = &protection.tls else { return self.converse(stream, client).await };
        match timeout(self.limits.request, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(stream, client).await,
            failed => {
                let error = failed.err().map_or("refused", |_| "too slow");
                debug!(target: target::HTTP, error, "TLS handshake with the metrics listener failed");
                self.traffic.abort(Abort::Tls);
            }
        }
    }

    async fn converse<S>(&self, stream: S, client: Client<'_>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Client { place, pace, .. } = client;
        let was_asked = AtomicBool::new(false);
        let service = service_fn(async |request| {
            was_asked.store(true, Ordering::Relaxed);
            pace.asked();
            let response = self.answer(&request, client).await;
            place.answered();
            pace.answered();
            Ok::<_, Infallible>(response)
        });
        pace.begins();
        let connection = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = timeout(self.limits.connection, connection) => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(target: target::HTTP, %error, "connection to the metrics listener ended");
                    self.traffic.abort(Abort::Request);
                }
                Err(_) => self.traffic.abort(Abort::Age),
            },
            overdue = pace.overdue(self.limits.request, self.limits.send) => match overdue {
                Overdue::Answer => self.traffic.abort(Abort::Unread),
                // It has what it wanted and asks for no more.
                Overdue::Request if was_asked.load(Ordering::Relaxed) => {}
                Overdue::Request => self.traffic.abort(Abort::Request),
            },
        }
    }

    async fn answer(
        &self,
        request: &Request<Incoming>,
        client: Client<'_>,
    ) -> Response<Full<Bytes>> {
        let mut page = match self.page(request, client).await {
            Ok(page) => page,
            Err((refusal, page)) => {
                self.traffic.refuse(refusal);
                page
            }
        };
        let is_plain = page.fields.iter().all(|(name, _)| *name != CONTENT_ENCODING);
        let worthwhile = is_plain && compress::is_worthwhile(page.body.len());
        if worthwhile && compress::is_taken(request.headers()) {
            // Metrics are compressed already; others have a few kilobytes.
            let compressed = gzip(&page.body);
            page = page.compressed(compressed);
        }
        let mut response = Response::new(Full::new(page.body));
        *response.status_mut() = page.status;
        let fields = [
            (CONTENT_TYPE, page.content_type),
            (VARY, "Accept, Accept-Encoding"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
        response.headers_mut().extend(fields.into_iter().chain(page.fields));
        for (name, value) in client.protection.iter().flat_map(|given| &given.fields) {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn page(
        &self,
        request: &Request<Incoming>,
        client: Client<'_>,
    ) -> Result<Page, (Refusal, Page)> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let page =
                sentence(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed here");
            return Err((Refusal::Method, page.with(ALLOW, HeaderValue::from_static("GET, HEAD"))));
        }
        let page = async {
            self.admit(request, client).await?;
            // Who waits for a check of a password has no right to a place by that.
            client.place.asked();
            self.site.page(request.uri(), request.headers()).await
        };
        timeout(self.limits.answer, page).await.unwrap_or_else(|_| {
            limited!(
                HTTP,
                WARN,
                per_minute(6),
                path = request.uri().path(),
                "a page took too long"
            );
            let page = sentence(StatusCode::SERVICE_UNAVAILABLE, "it took too long");
            Err((Refusal::Late, page.with(RETRY_AFTER, 10)))
        })
    }

    /// # Errors
    /// The client may not see the pages.
    async fn admit(
        &self,
        request: &Request<Incoming>,
        Client { address, protection, .. }: Client<'_>,
    ) -> Result<(), (Refusal, Page)> {
        let Some(protection) = protection else { return Ok(()) };
        let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match protection.users.admit(given, address, &self.logins).await {
            Login::Admitted => Ok(()),
            Login::Refused => {
                let wanted = "a user of basic_auth_users and the password are needed";
                let page = sentence(StatusCode::UNAUTHORIZED, wanted);
                let scheme = HeaderValue::from_static("Basic realm=\"metrics\"");
                Err((Refusal::Unauthorized, page.with(WWW_AUTHENTICATE, scheme)))
            }
            Login::TooOften(wait) => {
                let page = sentence(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many passwords were tried from this address",
                );
                Err((Refusal::Tries, page.with(RETRY_AFTER, wait.as_secs().saturating_add(1))))
            }
        }
    }
}

/// The peer of a connection.
#[derive(Clone, Copy)]
struct Client<'a> {
    address: IpAddr,
    place: &'a Place<IpAddr>,
    pace: &'a Pace,
    protection: Option<&'a Protection>,
}

fn sentence(status: StatusCode, sentence: &'static str) -> Page {
    Page::new(status, TEXT, format!("{sentence}\n"))
}

/// Who counts as one: an IPv4 address, or the /64 of an IPv6 address, of which one
/// host has as many addresses as it likes.
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// What one owner is likely to have: an IPv6 /48, an IPv4 /24.
impl Owner for IpAddr {
    fn network(self) -> Self {
        match self {
            Self::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
            Self::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8).into(),
        }
    }
}

#[cfg(test)]
mod siege;
#[cfg(test)]
mod tests;
