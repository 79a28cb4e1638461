//! Traces, sent by OTLP or to Zipkin: what a handshake, a join or a reload consists of, and
//! how long each part took.
//!
//! Two ways to make spans, neither of which costs more than one atomic load while
//! traces are off:
//!
//! * in async code, `debug_span!` of [`tracing`]: at this level the log does not
//!   want it, and what nobody wants is not made;
//! * in a shard, which serves many sessions in one thread, so that a span's life
//!   is no scope: [`finished`], when it is over.
//!
//! Traces are on from when the feature `otlp` has started to send them.

#[cfg(feature = "otlp")]
mod otlp;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use opentelemetry::Context;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{Span, SpanBuilder, TraceContextExt, Tracer};

pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanContext;
#[cfg(feature = "otlp")]
pub use otlp::{Sender, Trace, TraceCounts, TraceError, check, instance_id, start};

static ON: AtomicBool = AtomicBool::new(false);
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

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
    tracer: &impl Tracer,
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
