//! Traces against a receiver in this process, and against receivers that fail.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use opentelemetry_proto::tonic::trace::v1::Span as Received;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tracing::dispatcher::with_default;
use tracing::{debug_span, info};

use super::*;
use crate::log::Log;
use crate::settings::{LogFormat, Logging};

struct Receiver {
    address: SocketAddr,
    requests: UnboundedReceiver<ExportTraceServiceRequest>,
}

struct Service(UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    fn start() -> Self {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = incoming.local_addr().unwrap();
        let (sender, requests) = unbounded_channel();
        let service = TraceServiceServer::new(Service(sender));
        tokio::spawn(async move {
            Server::builder().serve_with_incoming(service, incoming).await.unwrap();
        });
        Self { address, requests }
    }

    /// All spans so far, and the attributes of who sent them.
    fn spans(&mut self) -> (Vec<Received>, Vec<Attribute>) {
        let mut spans = Vec::new();
        let mut sender = Vec::new();
        while let Ok(request) = self.requests.try_recv() {
            for resource in request.resource_spans {
                sender = resource.resource.unwrap().attributes;
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (spans, sender)
    }
}

fn settings(endpoint: impl ToString) -> Tracing {
    let endpoint = endpoint.to_string();
    Tracing { enabled: true, endpoint, sample_rate: 1.0, ..Tracing::default() }
}

fn sender() -> Sender {
    Sender { name: "wzp-relay", version: "1.2.3", instance: "[::]:4433".into() }
}

fn text(attributes: &[Attribute], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()) {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        other => panic!("{key}: {other:?}"),
    }
}

/// Records a span of a second's length that ended now.
fn span(trace: &Trace, name: &'static str, parent: Option<&SpanContext>) -> SpanContext {
    let tracer = trace.provider.as_ref().unwrap().tracer("test");
    let end = Instant::now();
    let start = end.checked_sub(Duration::from_secs(1)).unwrap();
    let attributes = || [KeyValue::new("src_ip", "192.0.2.1")];
    record(&tracer, name.into(), (start, end), parent, attributes).unwrap()
}

#[tokio::test]
async fn spans_arrive_with_attributes_times_parents_and_who_sent_them() {
    let mut receiver = Receiver::start();
    let trace = Trace::new(&settings(receiver.address), &sender()).unwrap();
    let counts = trace.reader();
    let handshake = span(&trace, "handshake", None);
    let hello = span(&trace, "hello", Some(&handshake));
    span(&trace, "another", None);
    trace.shutdown().await;

    let (spans, from) = receiver.spans();
    assert_eq!(counts(), TraceCounts { exported: 3, failed: 0, dropped: 0 });
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (parent, child, other) = (named("handshake"), named("hello"), named("another"));
    assert_eq!(parent.trace_id, handshake.trace_id().to_bytes());
    assert_eq!(parent.parent_span_id, [0_u8; 0]);
    assert_eq!(child.trace_id, parent.trace_id);
    assert_eq!(child.parent_span_id, parent.span_id);
    assert_eq!(child.span_id, hello.span_id().to_bytes());
    assert_ne!(other.trace_id, parent.trace_id);
    assert_eq!(text(&child.attributes, "src_ip"), "192.0.2.1");
    assert_eq!(parent.end_time_unix_nano - parent.start_time_unix_nano, 1_000_000_000);
    for (key, value) in [
        ("service.name", "wzp-relay"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "[::]:4433"),
    ] {
        assert_eq!(text(&from, key), value);
    }
    assert!(!text(&from, "host.name").is_empty());
}

#[tokio::test]
async fn a_rate_of_0_sends_nothing_not_even_children() {
    let mut receiver = Receiver::start();
    let settings = Tracing { sample_rate: 0.0, ..settings(receiver.address) };
    let trace = Trace::new(&settings, &sender()).unwrap();
    let counts = trace.reader();
    let parent = span(&trace, "handshake", None);
    assert!(parent.is_valid() && !parent.is_sampled());
    assert_eq!(span(&trace, "hello", Some(&parent)).trace_id(), parent.trace_id());
    trace.shutdown().await;
    assert_eq!(counts(), TraceCounts::default());
    assert_eq!(receiver.spans().0, []);
}

#[tokio::test]
async fn a_trace_that_was_chosen_elsewhere_is_followed() {
    let mut receiver = Receiver::start();
    let elsewhere = Trace::new(&settings(receiver.address), &sender()).unwrap();
    let parent = span(&elsewhere, "call", None);
    let settings = Tracing { sample_rate: 0.0, ..settings(receiver.address) };
    let trace = Trace::new(&settings, &sender()).unwrap();
    span(&trace, "handshake", Some(&parent));
    trace.shutdown().await;
    elsewhere.shutdown().await;
    assert_eq!(receiver.spans().0.len(), 2);
}

#[tokio::test]
async fn a_receiver_that_refuses_costs_spans_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let trace = Trace::new(&settings(address), &sender()).unwrap();
    let counts = trace.reader();
    (0..5).for_each(|_| drop(span(&trace, "handshake", None)));
    trace.shutdown().await;
    assert_eq!(counts(), TraceCounts { exported: 0, failed: 5, dropped: 0 });
}

#[tokio::test]
async fn a_receiver_that_hangs_makes_nobody_wait_and_what_is_too_much_is_dropped() {
    // The kernel takes connections, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let trace = Trace::new(&settings(listener.local_addr().unwrap()), &sender()).unwrap();
    let counts = trace.reader();
    (0..3000).for_each(|_| drop(span(&trace, "handshake", None)));
    trace.shutdown().await;
    let counts = counts();
    assert_eq!(counts.exported, 0);
    assert!(counts.dropped > 0, "{counts:?}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    for (endpoint, rate, part) in [
        ("local host:4317", 1.0, "tracing.endpoint \"local host:4317\" cannot be used"),
        ("https://localhost:4317", 1.0, "cannot be used"),
        ("localhost:4317", 1.5, "tracing.sample_rate 1.5 is not between 0 and 1"),
        ("localhost:4317", f64::NAN, "is not between 0 and 1"),
    ] {
        let settings = Tracing { sample_rate: rate, ..settings(endpoint) };
        let error = Trace::new(&settings, &sender()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// The only test that turns traces on for the process.
#[tokio::test]
async fn the_process_sends_spans_of_both_kinds_and_its_log_names_them() {
    let now = Instant::now();
    let off = start(&Tracing::default(), &sender()).unwrap();
    assert!(off.layer().is_none());
    let none = finished("handshake", now, now, None, || -> [KeyValue; 0] { panic!("not wanted") });
    assert_eq!((none, current()), (None, None));
    off.shutdown().await;

    let mut receiver = Receiver::start();
    let trace = start(&settings(receiver.address), &sender()).unwrap();
    assert!(matches!(start(&settings("localhost"), &sender()), Err(TraceError::Started)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.log");
    let format = LogFormat::Json;
    let logging = Logging { file: Some(file.clone()), format, ..Logging::default() };
    let (log, dispatch) = Log::new(&logging, trace.layer().into_iter().collect()).unwrap();
    let reload = with_default(&dispatch, || {
        let reload = debug_span!(target: "wzp_relay", "reload", changes = 3).entered();
        let current = current().unwrap();
        info!("reloading");
        let _check = debug_span!(target: "wzp_relay", "check").entered();
        let _others = debug_span!(target: "h2", "others").entered();
        drop(reload);
        info!("out of it");
        current
    });
    let joined = finished("join", now, Instant::now(), Some(&reload), || [KeyValue::new("n", 1)]);
    assert_eq!(joined.unwrap().trace_id(), reload.trace_id());
    log.flush().unwrap();
    // The provider's spans end with the layer's subscriber.
    drop((dispatch, log));
    trace.shutdown().await;

    let (spans, _) = receiver.spans();
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["check", "join", "reload"]);
    let text = std::fs::read_to_string(file).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["trace_id"], reload.trace_id().to_string());
    assert_eq!(line["span_id"], reload.span_id().to_string());
}
