//! Sending spans in batches, and counting what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

use super::receiver::Receiver;
use crate::settings::url;

/// Most spans that wait to be sent, or are being sent.
const QUEUE: usize = 2048;
/// How long a span waits for others at most.
const DELAY: Duration = Duration::from_secs(2);

/// What became of the spans that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// The receiver took them.
    pub exported: u64,
    /// It did not.
    pub failed: u64,
    /// They were not even tried, because too many waited.
    pub dropped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    waiting: AtomicUsize,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    pub(super) fn reading(&self) -> TraceCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TraceCounts {
            exported: read(&self.exported),
            failed: read(&self.failed),
            dropped: read(&self.dropped),
        }
    }
}

pub(super) fn processor(receiver: Receiver, endpoint: &str, counts: &Arc<Counts>) -> Bounded {
    let exporter = Counted { receiver, endpoint: url::shown(endpoint), counts: counts.clone() };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(DELAY)
        .build();
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Bounded { batches, counts: counts.clone() }
}

/// Drops spans before the batches' own queue would, which does not tell.
#[derive(Debug)]
pub(super) struct Bounded {
    batches: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what the receiver took, and warns when it did not.
#[derive(Debug)]
struct Counted {
    receiver: Receiver,
    endpoint: String,
    counts: Arc<Counts>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.receiver.export(batch).await;
        let count = if result.is_ok() { &self.counts.exported } else { &self.counts.failed };
        count.fetch_add(spans as u64, Ordering::Relaxed);
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        if let Err(error) = &result {
            crate::limited!(TRACE, WARN, per_minute(1), endpoint = self.endpoint, lost = spans, %error,
                            "traces cannot be sent");
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.receiver.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.receiver.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.receiver.set_resource(resource);
    }
}
