//! Spans as Zipkin wants them: JSON of its API, version 2, by POST
//! (<https://zipkin.io/zipkin-api/>). The library for it is given up by its authors.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::SpanData;
use rustls::RootCertStore;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::ask::{EXPORT_TIMEOUT, client_config};

/// Where a Zipkin server takes spans.
const PATH: &str = "/api/v2/spans";

/// A Zipkin server.
#[derive(Debug)]
pub(super) struct Zipkin {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    /// Batches are exported by a thread that has no runtime.
    runtime: Handle,
    service: String,
    /// What else tells this process from others.
    process: Vec<(String, String)>,
}

impl Zipkin {
    /// `roots`: the authorities that are trusted, for https. Called in a runtime.
    ///
    /// # Errors
    /// That is no URL, with the reason.
    pub(super) fn new(endpoint: &str, roots: Option<RootCertStore>) -> Result<Self, String> {
        let mut uri: Uri = endpoint.parse().map_err(|error| format!("{error}"))?;
        if !["http", "https"].contains(&uri.scheme_str().unwrap_or_default()) {
            return Err("it is neither http nor https".to_owned());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a name and a password in it would not be sent".to_owned());
        }
        if ["", "/"].contains(&uri.path()) {
            let whole = format!("{}{PATH}", endpoint.trim_end_matches('/'));
            uri = whole.parse().map_err(|error| format!("{error}"))?;
        }
        let tls = client_config(roots.unwrap_or_else(RootCertStore::empty));
        let tls = tls.map_err(|error| error.to_string())?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            uri,
            runtime: Handle::current(),
            service: String::new(),
            process: Vec::new(),
        })
    }

    pub(super) fn set_resource(&mut self, resource: &Resource) {
        const NAME: Key = Key::from_static_str("service.name");
        self.service = resource.get(&NAME).map(|name| name.to_string()).unwrap_or_default();
        let others = resource.iter().filter(|(key, _)| **key != NAME);
        self.process = others.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    }

    pub(super) async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let failed = |error: String| OTelSdkError::InternalFailure(error);
        let spans: Vec<_> = batch.iter().map(|span| self.span(span)).collect();
        let body = serde_json::to_vec(&spans).map_err(|error| failed(error.to_string()))?;
        let request = Request::post(self.uri.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::from(body)).map_err(|error| failed(error.to_string()))?;
        let client = self.client.clone();
        // All of it, for a timer is the runtime's from its beginning.
        let sent = async move { timeout(EXPORT_TIMEOUT, client.request(request)).await };
        let status = match self.runtime.spawn(sent).await {
            Ok(Ok(Ok(response))) => response.status(),
            Ok(Ok(Err(error))) => return Err(failed(innermost(&error))),
            Ok(Err(_)) => return Err(OTelSdkError::Timeout(EXPORT_TIMEOUT)),
            Err(error) => return Err(failed(error.to_string())),
        };
        match status.is_success() {
            true => Ok(()),
            false if status == StatusCode::NOT_FOUND => {
                Err(failed(format!("there is no {} there; Zipkin has {PATH}", self.uri.path())))
            }
            false => Err(failed(format!("the receiver answered {status}"))),
        }
    }

    fn span<'a>(&'a self, span: &'a SpanData) -> Span<'a> {
        let attribute =
            |KeyValue { key, value, .. }: &KeyValue| (key.to_string(), value.to_string());
        let mut tags: BTreeMap<_, _> = self.process.iter().cloned().collect();
        tags.extend(span.attributes.iter().map(attribute));
        // As the specification of OpenTelemetry has it for Zipkin.
        tags.insert("otel.scope.name".to_owned(), span.instrumentation_scope.name().to_owned());
        match &span.status {
            Status::Unset => {}
            Status::Ok => drop(tags.insert("otel.status_code".to_owned(), "OK".to_owned())),
            Status::Error { description } => {
                tags.insert("otel.status_code".to_owned(), "ERROR".to_owned());
                tags.insert("error".to_owned(), description.to_string());
            }
        }
        let lasted = span.end_time.duration_since(span.start_time).unwrap_or_default();
        Span {
            trace_id: span.span_context.trace_id().to_string(),
            id: span.span_context.span_id().to_string(),
            parent_id: (span.parent_span_id != SpanId::INVALID)
                .then(|| span.parent_span_id.to_string()),
            name: &span.name,
            kind: kind(&span.span_kind),
            timestamp: micros(span.start_time.duration_since(UNIX_EPOCH).unwrap_or_default()),
            // Zipkin takes 0 for not known.
            duration: micros(lasted).max(1),
            local_endpoint: Endpoint { service_name: &self.service },
            annotations: span
                .events
                .iter()
                .map(|event| Annotation::of(event.timestamp, &event.name))
                .collect(),
            tags,
        }
    }
}

/// A span of the API's version 2.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Microseconds since 1970.
    timestamp: u64,
    /// Microseconds.
    duration: u64,
    local_endpoint: Endpoint<'a>,
    annotations: Vec<Annotation<'a>>,
    tags: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    service_name: &'a str,
}

#[derive(Serialize)]
struct Annotation<'a> {
    timestamp: u64,
    value: &'a str,
}

impl<'a> Annotation<'a> {
    fn of(at: SystemTime, value: &'a str) -> Self {
        Self { timestamp: micros(at.duration_since(UNIX_EPOCH).unwrap_or_default()), value }
    }
}

/// What is within a process has none.
fn kind(kind: &SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Server => Some("SERVER"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
        SpanKind::Internal => None,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The cause that helps: "connection refused".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
