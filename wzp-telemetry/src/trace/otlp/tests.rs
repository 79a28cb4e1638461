//! Traces against a receiver in this process, and against receivers that fail.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use opentelemetry_proto::tonic::trace::v1::Span as Received;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tracing::dispatcher::with_default;
use tracing::{debug_span, info};

use super::*;
use crate::log::Log;
use crate::settings::{Exporter, LogFormat, Logging};
use crate::trace::{SpanContext, current, finished, record};

struct Receiver {
    address: SocketAddr,
    requests: UnboundedReceiver<ExportTraceServiceRequest>,
}

/// An authority, and what a server on localhost that it vouches for shows.
struct Authority {
    folder: tempfile::TempDir,
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Self { folder, certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn acceptor(&self, protocol: &[u8]) -> TlsAcceptor {
        let certificates = wzp_pem::certificates(self.certificate.as_bytes()).unwrap();
        let key = wzp_pem::private_key(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Takes one request by HTTP/1.1 and answers with `status`. Gives its head and content.
async fn one_request<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    status: &str,
) -> (String, serde_json::Value) {
    let mut text = Vec::new();
    let (head, length) = loop {
        text.push(stream.read_u8().await.unwrap());
        if text.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8(std::mem::take(&mut text)).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (head.clone(), length.unwrap().parse().unwrap());
        }
    };
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    (head, serde_json::from_slice(&content).unwrap())
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
async fn spans_arrive_over_tls_at_who_can_prove_who_it_is() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = authority.acceptor(b"h2");
    let (sender_half, mut requests) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = TraceServiceServer::new(Service(sender_half.clone()));
            let service = TowerToHyperService::new(service);
            let builder = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    let trusting = Tracing { ca_file: Some(authority.file()), ..settings(&endpoint) };
    let trace = Trace::new(&trusting, &sender()).unwrap();
    let counts = trace.reader();
    span(&trace, "handshake", None);
    trace.shutdown().await;
    assert_eq!(counts(), TraceCounts { exported: 1, failed: 0, dropped: 0 });
    assert_eq!(requests.try_recv().unwrap().resource_spans.len(), 1);

    let other = Authority::new();
    let trusting = Tracing { ca_file: Some(other.file()), ..settings(&endpoint) };
    let trace = Trace::new(&trusting, &sender()).unwrap();
    let counts = trace.reader();
    span(&trace, "handshake", None);
    trace.shutdown().await;
    assert_eq!(counts(), TraceCounts { exported: 0, failed: 1, dropped: 0 });
}

#[tokio::test]
async fn zipkin_gets_its_own_form() {
    for with_tls in [false, true] {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (exporter, ca_file) = (Exporter::Zipkin, with_tls.then(|| authority.file()));
        let endpoint = if with_tls { format!("https://{host}") } else { host };
        let settings = Tracing { exporter, ca_file, ..settings(endpoint) };
        let trace = Trace::new(&settings, &sender()).unwrap();
        let counts = trace.reader();
        let handshake = span(&trace, "handshake", None);
        span(&trace, "hello", Some(&handshake));
        let receiver = async {
            let (stream, _) = listener.accept().await.unwrap();
            match with_tls {
                false => one_request(stream, "202 Accepted").await,
                true => {
                    let stream = authority.acceptor(b"http/1.1").accept(stream).await.unwrap();
                    one_request(stream, "202 Accepted").await
                }
            }
        };
        let ((head, spans), ()) = tokio::join!(receiver, trace.shutdown());
        assert!(head.starts_with("POST /api/v2/spans HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let (parent, child) = (&spans[0], &spans[1]);
        assert_eq!((&parent["name"], &child["name"]), (&"handshake".into(), &"hello".into()));
        assert_eq!(parent["traceId"], handshake.trace_id().to_string());
        assert_eq!(parent["id"], handshake.span_id().to_string());
        assert!(parent.get("parentId").is_none());
        assert_eq!((&child["parentId"], &child["traceId"]), (&parent["id"], &parent["traceId"]));
        assert_eq!(parent["duration"], 1_000_000);
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros()
            - u128::from(parent["timestamp"].as_u64().unwrap());
        assert!((1_000_000..120_000_000).contains(&age), "{age}");
        assert_eq!(parent["localEndpoint"]["serviceName"], "wzp-relay");
        let tags = &parent["tags"];
        assert_eq!(
            (&tags["src_ip"], &tags["service.version"]),
            (&"192.0.2.1".into(), &"1.2.3".into())
        );
        assert_eq!(tags["service.instance.id"], "[::]:4433");
        assert_eq!(counts(), TraceCounts { exported: 2, failed: 0, dropped: 0 });
    }
}

#[tokio::test]
async fn a_zipkin_that_refuses_costs_spans() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Tracing { exporter: Exporter::Zipkin, ..settings(address) };
    let trace = Trace::new(&settings, &sender()).unwrap();
    let counts = trace.reader();
    span(&trace, "handshake", None);
    let receiver = async {
        let (stream, _) = listener.accept().await.unwrap();
        one_request(stream, "400 Bad Request").await
    };
    tokio::join!(receiver, trace.shutdown());
    assert_eq!(counts(), TraceCounts { exported: 0, failed: 1, dropped: 0 });
}

#[tokio::test]
async fn who_is_trusted_is_checked_at_the_start() {
    let authority = Authority::new();
    let folder = authority.folder.path();
    std::fs::write(folder.join("empty.pem"), "").unwrap();
    std::fs::write(folder.join("key.pem"), &authority.key).unwrap();
    for (endpoint, file, parts) in [
        ("localhost:4317", "ca.pem", &["tracing.ca_file", "write it with https://"][..]),
        ("https://localhost:4317", "none.pem", &["tracing.ca_file", "none.pem: No such file"]),
        ("https://localhost:4317", "empty.pem", &["empty.pem", "PEM"]),
        ("https://localhost:4317", "key.pem", &["key.pem"]),
    ] {
        for exporter in [Exporter::Otlp, Exporter::Zipkin] {
            let ca_file = Some(folder.join(file));
            let settings = Tracing { exporter, ca_file, ..settings(endpoint) };
            let error = Trace::new(&settings, &sender()).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
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
