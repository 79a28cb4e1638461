//! Traces, sent by OTLP: what a handshake, a join or a reload consists of, and
//! how long each part took.
//!
//! Two ways to make spans, neither of which costs more than one atomic load while
//! traces are off:
//!
//! * in async code, `debug_span!` of [`tracing`]: at this level the log does not
//!   want it, and what nobody wants is not made;
//! * in a shard, which serves many sessions in one thread, so that a span's life
//!   is no scope: [`finished`], when it is over.

mod export;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Metadata;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

use crate::log::BoxedLayer;
use crate::settings::{Tracing, url};
use export::Counts;

pub use export::TraceCounts;
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanContext;

/// How long the receiver may take to accept a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the program waits for what has not been sent yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static ON: AtomicBool = AtomicBool::new(false);
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Who sends traces, as receivers show it.
#[derive(Clone, Debug)]
pub struct Sender {
    /// service.name
    pub name: &'static str,
    /// service.version
    pub version: &'static str,
    /// service.instance.id: tells this process from others of the name, as an
    /// address it listens on does.
    pub instance: String,
}

/// The program's traces. Nothing is done where they are off.
#[derive(Debug, Default)]
pub struct Trace {
    provider: Option<SdkTracerProvider>,
    counts: Arc<Counts>,
}

/// Why traces cannot be sent as was asked.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// `tracing.endpoint` is no address of a receiver.
    #[error(
        "tracing.endpoint \"{endpoint}\" cannot be used: {reason}; write host and port of an \
         OTLP receiver (gRPC), for example \"localhost:4317\""
    )]
    Endpoint {
        /// What was given, without its secrets.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `tracing.sample_rate` is no share.
    #[error("tracing.sample_rate {0} is not between 0 and 1")]
    SampleRate(f64),
    /// The process sends traces already.
    #[error("this process sends traces already")]
    Started,
}

/// Starts to send traces, if the settings want it. Must be called in the runtime
/// that is to send them. The receiver need not be there yet.
///
/// # Errors
/// The settings cannot be used, or it was called before.
pub fn start(settings: &Tracing, sender: &Sender) -> Result<Trace, TraceError> {
    if !settings.enabled {
        return Ok(Trace::default());
    }
    let trace = Trace::new(settings, sender)?;
    if let Some(provider) = &trace.provider {
        TRACER.set(provider.tracer(sender.name)).map_err(|_| TraceError::Started)?;
        ON.store(true, Ordering::Release);
    }
    Ok(trace)
}

/// Whether [`start`] could start at this moment.
///
/// # Errors
/// The settings cannot be used.
pub fn check(settings: &Tracing) -> Result<(), TraceError> {
    if settings.enabled { exporter(settings).map(drop) } else { Ok(()) }
}

/// What sends spans to the receiver, which need not be there yet. Called in a runtime.
fn exporter(settings: &Tracing) -> Result<SpanExporter, TraceError> {
    let rate = settings.sample_rate;
    if !(0.0..=1.0).contains(&rate) {
        return Err(TraceError::SampleRate(rate));
    }
    let endpoint = &settings.endpoint;
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(with_scheme(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build();
    exporter.map_err(|error| TraceError::Endpoint {
        endpoint: url::shown(endpoint),
        reason: error.to_string(),
    })
}

impl Trace {
    fn new(settings: &Tracing, sender: &Sender) -> Result<Self, TraceError> {
        let Tracing { endpoint, sample_rate: rate, .. } = settings;
        let exporter = exporter(settings)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", sender.name),
                KeyValue::new("service.version", sender.version),
                KeyValue::new("service.instance.id", sender.instance.clone()),
                KeyValue::new("host.name", host),
            ])
            .build();
        let counts = Arc::new(Counts::default());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(export::processor(exporter, endpoint, &counts))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(*rate))))
            .with_resource(resource)
            .build();
        Ok(Self { provider: Some(provider), counts })
    }

    /// What turns spans of [`tracing`] into traces, for [`crate::log::start`].
    /// None while traces are off, so that spans are not even made.
    pub fn layer(&self) -> Option<BoxedLayer> {
        let tracer = self.provider.as_ref()?.tracer("tracing");
        // To send spans makes spans in the libraries that do it, without end.
        let own = |about: &Metadata<'_>| about.is_span() && about.target().starts_with("wzp_");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(filter_fn(own)).boxed())
    }

    /// Spans sent and not sent since the start.
    pub fn counts(&self) -> TraceCounts {
        self.counts.reading()
    }

    /// A closure that reads the counts for as long as anybody wants to.
    pub fn reader(&self) -> impl Fn() -> TraceCounts + Send + Sync + 'static + use<> {
        let counts = self.counts.clone();
        move || counts.reading()
    }

    /// Sends what has not been sent yet, at most two seconds long. Needs the
    /// runtime that [`start`] was called in to go on meanwhile.
    pub async fn shutdown(self) {
        ON.store(false, Ordering::Release);
        let Some(provider) = self.provider else { return };
        // It blocks, and the runtime may have one thread only.
        let end = move || provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        let _ = tokio::task::spawn_blocking(end).await;
    }
}

/// Records a span that is over, and returns what its children need to name it,
/// sampled or not; an exemplar wants it only if it `is_sampled`. The attributes
/// are only made if it is.
///
/// Record a parent first, when all is over, then each child with `parent`. None
/// begins a new trace.
///
/// Costs one atomic load while traces are off. Else it takes microseconds, and
/// does not wait: what the sender cannot take is dropped and counted.
pub fn finished<A>(
    name: impl Into<Cow<'static, str>>,
    start: Instant,
    end: Instant,
    parent: Option<&SpanContext>,
    attributes: impl FnOnce() -> A,
) -> Option<SpanContext>
where
    A: IntoIterator<Item = KeyValue>,
{
    if !ON.load(Ordering::Acquire) {
        return None;
    }
    record(TRACER.get()?, name.into(), (start, end), parent, attributes)
}

fn record<A>(
    tracer: &SdkTracer,
    name: Cow<'static, str>,
    (start, end): (Instant, Instant),
    parent: Option<&SpanContext>,
    attributes: impl FnOnce() -> A,
) -> Option<SpanContext>
where
    A: IntoIterator<Item = KeyValue>,
{
    let now = (Instant::now(), SystemTime::now());
    let wall = |at: Instant| now.1 - now.0.saturating_duration_since(at);
    let parent = match parent {
        Some(parent) => Context::new().with_remote_span_context(parent.clone()),
        None => Context::new(),
    };
    let builder = SpanBuilder::from_name(name).with_start_time(wall(start));
    let mut span = tracer.build_with_context(builder, &parent);
    if span.is_recording() {
        span.set_attributes(attributes());
        span.end_with_timestamp(wall(end));
    }
    Some(span.span_context().clone())
}

/// The span that this thread is in now, if it is part of a trace that is sent.
pub fn current() -> Option<SpanContext> {
    if !ON.load(Ordering::Acquire) {
        return None;
    }
    Context::map_current(|context| {
        let current = context.span();
        Some(current.span_context().clone()).filter(SpanContext::is_sampled)
    })
}

/// The specification's endpoint has no scheme, gRPC's must.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}

#[cfg(test)]
mod tests;
