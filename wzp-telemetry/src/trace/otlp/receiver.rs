//! Who spans are sent to: OTLP over gRPC, or Zipkin, with or without TLS.

use std::path::Path;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use rustls::RootCertStore;
use wzp_untrusted::file;

use super::TraceError;
use super::ask::EXPORT_TIMEOUT;
use super::zipkin::Zipkin;
use crate::settings::{Exporter, Tracing, url};

/// Longest file of authorities, in bytes.
const ROOTS_BYTES: u64 = 32 << 20;

/// What sends spans, which need not reach anybody yet.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(super) enum Receiver {
    Otlp(Otlp),
    Zipkin(Box<Zipkin>),
}

impl Receiver {
    /// The one that the settings want. Called in a runtime.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(super) fn new(settings: &Tracing) -> Result<Self, TraceError> {
        // The specification's endpoint has no scheme, gRPC's must.
        let (scheme, host) =
            settings.endpoint.split_once("://").unwrap_or(("http", &settings.endpoint));
        let scheme = scheme.to_ascii_lowercase();
        let endpoint = format!("{scheme}://{host}");
        let is_https = scheme == "https";
        let roots = match (&settings.ca_file, is_https) {
            (None, false) => None,
            (Some(_), false) => return Err(TraceError::NoTls),
            (file, true) => Some(roots(file.as_deref())?),
        };
        let unusable = |reason: String| TraceError::Endpoint {
            endpoint: url::shown(&settings.endpoint),
            form: settings.exporter.form(),
            reason,
        };
        match settings.exporter {
            Exporter::Zipkin => {
                let zipkin = Zipkin::new(&endpoint, roots).map_err(unusable)?;
                Ok(Self::Zipkin(Box::new(zipkin)))
            }
            Exporter::Otlp | Exporter::Jaeger => {
                let exporter = Otlp::builder().with_tonic().with_endpoint(endpoint);
                let exporter = exporter.with_timeout(EXPORT_TIMEOUT);
                let exporter = match roots {
                    None => exporter,
                    Some(roots) => {
                        let tls = ClientTlsConfig::new().trust_anchors(roots.roots);
                        exporter.with_tls_config(tls)
                    }
                };
                Ok(Self::Otlp(exporter.build().map_err(|error| unusable(error.to_string()))?))
            }
        }
    }
}

impl Exporter {
    /// Where such a receiver is, in words.
    fn form(self) -> &'static str {
        match self {
            Self::Otlp | Self::Jaeger => {
                "host and port of an OTLP receiver (gRPC), for example \"localhost:4317\""
            }
            Self::Zipkin => {
                "host and port of a Zipkin server, for example \"localhost:9411\", or a whole URL"
            }
        }
    }
}

/// The authorities of the file, or those that the system trusts (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` are honoured).
fn roots(file: Option<&Path>) -> Result<RootCertStore, TraceError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        let (usable, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if usable == 0 { Err(TraceError::NoRoots) } else { Ok(roots) };
    };
    let refused = |reason: String| TraceError::Authority { path: path.to_owned(), reason };
    let pem = file::read(path, ROOTS_BYTES).map_err(|error| refused(format!(": {error}")))?;
    let certificates = wzp_pem::certificates(&pem).map_err(|error| refused(format!(" {error}")))?;
    for certificate in certificates {
        let damaged = |_| refused(" holds a certificate that is damaged".to_owned());
        roots.add(certificate).map_err(damaged)?;
    }
    Ok(roots)
}

impl SpanExporter for Receiver {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match self {
            Self::Otlp(otlp) => otlp.export(batch).await,
            Self::Zipkin(zipkin) => zipkin.export(batch).await,
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        match self {
            Self::Otlp(otlp) => match otlp.shutdown_with_timeout(timeout) {
                Err(OTelSdkError::AlreadyShutdown) => Ok(()),
                other => other,
            },
            Self::Zipkin(_) => Ok(()),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        match self {
            Self::Otlp(otlp) => otlp.force_flush(),
            Self::Zipkin(_) => Ok(()),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        match self {
            Self::Otlp(otlp) => otlp.set_resource(resource),
            Self::Zipkin(zipkin) => zipkin.set_resource(resource),
        }
    }
}
