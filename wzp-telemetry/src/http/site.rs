//! The pages of a listener.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use tracing::warn;
use wzp_untrusted::json;

use super::front::Program;
use super::{compress, front};
use crate::flight::SingleFlight;
use crate::health::{Health, Report};
use crate::log::target;
use crate::metrics::{Format, Refusal, Scrapes};
use crate::settings::{self, MetricsFormat};

/// The pages of a listener: a front page, health, readiness, and on one of
/// them metrics.
pub struct Site {
    program: Program,
    health: Arc<dyn Health>,
    reports: SingleFlight<Report>,
    health_path: String,
    metrics: Option<MetricsPage>,
}

struct MetricsPage {
    path: String,
    format: MetricsFormat,
    scrapes: Arc<Scrapes>,
}

/// What a client gets.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// Header fields that others do not have.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

impl Page {
    pub(super) fn new(
        status: StatusCode,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self { status, content_type, body: body.into(), fields: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// With a body that is gzip.
    pub(super) fn compressed(self, body: Bytes) -> Self {
        Self { body, ..self }.with(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
    }
}

impl Site {
    /// Metrics, `/health` and `/ready`.
    pub fn with_metrics(
        settings: &settings::Metrics,
        program: Program,
        health: Arc<dyn Health>,
        scrapes: Arc<Scrapes>,
    ) -> Self {
        let metrics = MetricsPage { path: settings.path.clone(), format: settings.format, scrapes };
        Self {
            program,
            health,
            reports: SingleFlight::default(),
            health_path: settings::Health::default().path,
            metrics: Some(metrics),
        }
    }

    /// Health and `/ready` alone.
    pub fn health_only(
        settings: &settings::Health,
        program: Program,
        health: Arc<dyn Health>,
    ) -> Self {
        Self {
            program,
            health,
            reports: SingleFlight::default(),
            health_path: settings.path.clone(),
            metrics: None,
        }
    }

    /// # Errors
    /// Why there is none, and the page that says so.
    pub(super) async fn page(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Page, (Refusal, Page)> {
        let path = uri.path();
        match &self.metrics {
            Some(metrics) if path == metrics.path => metrics.page(uri, headers).await,
            _ if path == self.health_path => {
                let report = self.report().await?;
                let body = json::to_string(&report.body(self.program.version));
                // Numbers and text always become JSON.
                let body = body.map_err(|error| failed(&error.to_string()))?;
                Ok(Page::new(status(report.is_live()), JSON, format!("{body}\n")))
            }
            _ if path == "/ready" => {
                let report = self.report().await?;
                let status = status(report.not_ready().is_none());
                let body = json::to_string(&report.readiness());
                let body = body.map_err(|error| failed(&error.to_string()))?;
                Ok(Page::new(status, JSON, format!("{body}\n")))
            }
            _ if path == "/" => {
                let (report, metrics) = (self.report().await?, self.metrics_path());
                let page = front::page(&self.program, &report, metrics, &self.health_path);
                Ok(Page::new(StatusCode::OK, HTML, page))
            }
            _ => {
                let metrics = self.metrics_path().map_or(String::new(), |path| format!("{path}, "));
                let known = format!("there is {metrics}{} and /ready\n", self.health_path);
                Err((Refusal::Path, Page::new(StatusCode::NOT_FOUND, TEXT, known)))
            }
        }
    }

    fn metrics_path(&self) -> Option<&str> {
        self.metrics.as_ref().map(|metrics| metrics.path.as_str())
    }

    async fn report(&self) -> Result<Arc<Report>, (Refusal, Page)> {
        let health = self.health.clone();
        let report = self.reports.get(move || health.report()).await;
        report.map_err(|error| failed(&format!("health could not be told: {error}")))
    }
}

impl MetricsPage {
    async fn page(&self, uri: &Uri, headers: &HeaderMap) -> Result<Page, (Refusal, Page)> {
        let mut pairs = uri.query().unwrap_or("").split('&');
        let format = match pairs.find_map(|pair| pair.strip_prefix("format=")) {
            Some(name) => Format::named(name).ok_or_else(|| {
                let known = "there is format=prometheus, openmetrics and json\n";
                (Refusal::Query, Page::new(StatusCode::BAD_REQUEST, TEXT, known))
            })?,
            None => {
                let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
                Format::accepted(accept, self.format)
            }
        };
        let compressed = compress::is_taken(headers);
        let body = self.scrapes.body(format, compressed).await;
        let body = body.map_err(|error| failed(&format!("metrics could not be read: {error}")))?;
        let page = Page::new(StatusCode::OK, format.content_type(), Bytes::new());
        Ok(if compressed { page.compressed(body) } else { Page { body, ..page } })
    }
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn failed(reason: &str) -> (Refusal, Page) {
    warn!(target: target::HTTP, reason, "a page could not be made");
    (Refusal::Failed, Page::new(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{reason}\n")))
}
