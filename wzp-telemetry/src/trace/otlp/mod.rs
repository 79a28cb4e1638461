//! Sends spans to a receiver: by OTLP, or to Zipkin.

mod ask;
mod export;
mod instance;
mod receiver;
mod zipkin;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Metadata;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

use super::{ON, TRACER};
use crate::layer::BoxedLayer;
use crate::settings::Tracing;
use export::Counts;
use receiver::Receiver;

pub use export::TraceCounts;
pub use instance::instance_id;

/// How long the end of the program waits for what has not been sent yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Who sends traces, as receivers show it.
#[derive(Clone, Debug)]
pub struct Sender {
    /// service.name
    pub name: &'static str,
    /// service.version
    pub version: &'static str,
    /// service.instance.id, from [`instance_id`].
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
    #[error("tracing.endpoint \"{endpoint}\" cannot be used: {reason}; write {form}")]
    Endpoint {
        /// What was given, without its secrets.
        endpoint: String,
        /// What the exporter sends to.
        form: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// `tracing.sample_rate` is no share.
    #[error("tracing.sample_rate {0} is not between 0 and 1")]
    SampleRate(f64),
    /// Whom to trust is only asked in TLS.
    #[error(
        "tracing.ca_file says whom to trust, but the endpoint is not asked over TLS: write it \
         with https://"
    )]
    NoTls,
    /// The file of authorities cannot be used.
    #[error("tracing.ca_file {}{reason}", path.display())]
    Authority {
        /// The file that the error is about.
        path: PathBuf,
        /// What is wrong, with what stands before it.
        reason: String,
    },
    /// The system trusts nobody.
    #[error(
        "no certificate authority is trusted here; install them (Debian: ca-certificates), or \
         name a file of them by tracing.ca_file"
    )]
    NoRoots,
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
        let tracer = BoxedTracer::new(Box::new(provider.tracer(sender.name)));
        TRACER.set(tracer).map_err(|_| TraceError::Started)?;
        ON.store(true, Ordering::Release);
    }
    Ok(trace)
}

/// Whether [`start`] could start at this moment.
///
/// # Errors
/// The settings cannot be used.
pub fn check(settings: &Tracing) -> Result<(), TraceError> {
    if settings.enabled { receiver(settings).map(drop) } else { Ok(()) }
}

/// What sends spans to the receiver, which need not be there yet. Called in a runtime.
fn receiver(settings: &Tracing) -> Result<Receiver, TraceError> {
    let rate = settings.sample_rate;
    if !(0.0..=1.0).contains(&rate) {
        return Err(TraceError::SampleRate(rate));
    }
    Receiver::new(settings)
}

impl Trace {
    fn new(settings: &Tracing, sender: &Sender) -> Result<Self, TraceError> {
        let Tracing { endpoint, sample_rate: rate, .. } = settings;
        let receiver = receiver(settings)?;
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
            .with_span_processor(export::processor(receiver, endpoint, &counts))
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

#[cfg(test)]
mod tests;
