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

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
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
pub(super) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpClient {
    /// For that server. The system's authorities are read only for https.
    pub(super) fn new(server: &Uri) -> Result<Self, TrustError> {
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
        let mut client = Client::builder(TokioExecutor::new());
        Ok(Self(client.pool_timer(TokioTimer::new()).build(connector)))
    }

    /// The whole answer, of at most `limit` bytes, if it is there by `deadline`.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        deadline: Instant,
    ) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| failed(&error))?;
            let (head, body) = response.into_parts();
            match Limited::new(body, limit).collect().await {
                Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong(limit)),
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
