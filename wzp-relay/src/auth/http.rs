//! Requests to the operator's own servers, bounded in time and length.

use std::error::Error as StdError;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::CertificateError;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use wzp_transport::trust::{TrustError, https_client_config};

use super::bounded::{Bounded, Flood};

/// What an answer may have beside its content: head, interim answers and trailers, in
/// bytes.
const HEADERS: usize = 64 * 1024;

/// Bytes that come for each of the content, at most: in chunks of one byte each.
const CHUNKED: usize = 6;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error(transparent)]
    Flood(Flood),
    #[error(
        "its certificate is of an authority that is not trusted here; install the authority's \
         certificate, or name its file in SSL_CERT_FILE (docs/auth.md, Private authorities)"
    )]
    UnknownAuthority,
    #[error(
        "its certificate is itself that of an authority (CA:TRUE), which no server may show; \
         have the authority sign one for the server (docs/auth.md, Private authorities)"
    )]
    AuthorityAsServer,
    #[error("what answers there does not speak TLS; should the URL begin with http://?")]
    NotTls,
    #[error("{0}")]
    Failed(String),
}

/// A client for one server. Redirects are answers like any other.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client<Bounded<HttpsConnector<HttpConnector>>, Full<Bytes>>,
    /// Longest answer, in bytes.
    limit: usize,
}

impl HttpClient {
    /// For that server, of whose answers none has more than `limit` bytes. The system's
    /// authorities are read only for https.
    pub(super) fn new(server: &Uri, limit: usize) -> Result<Self, TrustError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = if server.scheme_str() == Some("https") {
            let tls = HttpsConnectorBuilder::new().with_tls_config(https_client_config()?);
            tls.https_only().enable_http1().wrap_connector(tcp)
        } else {
            let nobody = rustls::RootCertStore::empty();
            let tls = rustls::ClientConfig::builder_with_provider(wzp_transport::crypto_provider())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(nobody)
                .with_no_client_auth();
            let tls = HttpsConnectorBuilder::new().with_tls_config(tls);
            tls.https_or_http().enable_http1().wrap_connector(tcp)
        };
        let most = limit.saturating_mul(CHUNKED).saturating_add(HEADERS);
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.pool_timer(TokioTimer::new()).build(Bounded { connector, most });
        Ok(Self { client, limit })
    }

    /// The whole answer, if it is there by `deadline`.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| failed(&error))?;
            let (head, body) = response.into_parts();
            match Limited::new(body, self.limit).collect().await {
                Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong(self.limit)),
                Err(error) => Err(failed(&*error)),
            }
        };
        timeout_at(deadline, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }
}

/// The innermost cause is the one that helps: "connection refused".
fn failed(error: &(dyn StdError + 'static)) -> HttpError {
    let mut cause = error;
    while let Some(inner) = cause_of(cause) {
        cause = inner;
    }
    if let Some(flood) = cause.downcast_ref() {
        return HttpError::Flood(*flood);
    }
    match cause.downcast_ref() {
        Some(rustls::Error::InvalidMessage(_)) => HttpError::NotTls,
        // A bad signature: another authority of the same name is trusted.
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => HttpError::UnknownAuthority,
        // rustls has no name for it.
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(reason)))
            if reason.to_string() == "CaUsedAsEndEntity" =>
        {
            HttpError::AuthorityAsServer
        }
        _ => HttpError::Failed(cause.to_string()),
    }
}

/// What is wrapped in an I/O error is not its source, but that source's.
fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    const LIMIT: usize = 16 * 1024;

    /// What a server sends without end, or until it is left.
    struct Sender {
        first: &'static str,
        again: &'static str,
    }

    impl Sender {
        /// Where each connection that has sent something is sent that.
        fn start(self) -> Uri {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    // The other side is to give up.
                    let _ = self.send(stream?);
                }
                io::Result::Ok(())
            });
            url
        }

        fn send(&self, mut stream: TcpStream) -> io::Result<()> {
            let _ = stream.read(&mut [0; 1024])?;
            stream.write_all(self.first.as_bytes())?;
            let again = self.again.repeat(1000);
            while !again.is_empty() {
                stream.write_all(again.as_bytes())?;
            }
            Ok(())
        }
    }

    async fn ask(client: &HttpClient, server: &Uri) -> Result<Response<Bytes>, HttpError> {
        let request = Request::get(server).body(Full::default()).unwrap();
        // Far more than it takes: nothing here is to be ended by time.
        client.send(request, Instant::now() + Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn a_server_that_sends_without_end_is_left_at_once() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let cases = [
            ("", "HTTP/1.1 100 Continue\r\n\r\n"),
            ("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n"),
            ("HTTP/1.1 200 OK\r\nx-more: ", "more "),
            ("HTTP/1.1 200 OK\r\n\r\n", "more "),
            (chunked, "1\r\nx\r\n"),
            (chunked, "1;more\r\nx\r\n"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "x-more: more\r\n"),
            ("", "\r\n"),
        ];
        for (first, again) in cases {
            let server = Sender { first, again }.start();
            let error = ask(&HttpClient::new(&server, LIMIT).unwrap(), &server).await.unwrap_err();
            assert!(!matches!(error, HttpError::Timeout), "{first:?} {again:?}: {error}");
        }
    }

    #[tokio::test]
    async fn what_an_answer_can_have_is_taken_for_each_request() {
        let body = |length| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        let chunks = "1\r\nx\r\n".repeat(LIMIT);
        let long_head = format!("HTTP/1.1 200 OK\r\nx-more: {}\r\n", "m".repeat(60_000));
        let answers = [
            format!("{}{}", body(LIMIT), "x".repeat(LIMIT)),
            format!("{}{}{}", interim.repeat(500), body(LIMIT), "x".repeat(LIMIT)),
            format!("{long_head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let (told, connections) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answers) = (stream?, answers.clone());
                let _ = told.send(());
                std::thread::spawn(move || {
                    for answer in answers.iter().cycle() {
                        let _ = stream.read(&mut [0; 1024])?;
                        stream.write_all(answer.as_bytes())?;
                    }
                    io::Result::Ok(())
                });
            }
            io::Result::Ok(())
        });
        let client = HttpClient::new(&server, LIMIT).unwrap();
        for number in 0..9 {
            let answer = ask(&client, &server).await;
            let length = answer.map(|found| found.body().len()).map_err(|error| error.to_string());
            assert_eq!(length, Ok(LIMIT), "{number}");
            // The connection is soon free again.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        // So one of them took more than there may be for one answer.
        assert!(connections.try_iter().count() <= 3);
    }
}
