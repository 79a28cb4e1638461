//! A listener with made-up pages, and a client, for the tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::Method;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use super::bind::{Purpose, bind};
use super::front::Program;
use super::serve::{Limits, Listening};
use super::site::Site;
use super::web_config::WebConfig;
use crate::health::{Check, Health, Phase, Report};
use crate::lock::Mutex;
use crate::metrics::{Family, Registry, Scrapes, Source, Traffic, single};
use crate::settings;

const PROGRAM: Program = Program { name: "wzp-test", version: "1.2.3" };

/// A program whose metrics can be held up and whose health can be set.
#[derive(Default)]
pub(super) struct Stage {
    /// Held by a test, it holds up whoever reads metrics.
    pub(super) gate: Mutex<()>,
    reads: Mutex<u64>,
    pub(super) report: Mutex<Option<(Phase, Check)>>,
}

impl Source for Arc<Stage> {
    type Scrape<'a> = u64;

    fn scrape(&self) -> u64 {
        let _open = self.gate.lock();
        let mut reads = self.reads.lock();
        *reads += 1;
        *reads
    }
}

const FAMILIES: &[Family<Arc<Stage>>] =
    &[Family::<Arc<Stage>>::counter("test_reads_total", "Reads", |reads| single(*reads as f64))];

impl Health for Stage {
    fn report(&self) -> Report {
        let (phase, check) =
            self.report.lock().clone().unwrap_or((Phase::Serving, Check::ok("network")));
        Report {
            phase,
            uptime_seconds: 1,
            connections: 2,
            transfers_active: 0,
            peers: 0,
            checks: vec![check],
        }
    }
}

/// The ordinary ones.
pub(super) fn limits() -> Limits {
    Limits::of_metrics(&settings::Metrics::default())
}

/// A running listener.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) program: Arc<Stage>,
}

impl Server {
    /// Metrics and health, within the ordinary limits.
    pub(super) async fn start() -> Self {
        Self::within(limits(), None).await
    }

    pub(super) async fn within(limits: Limits, web_config: Option<WebConfig>) -> Self {
        let program = Arc::new(Stage::default());
        let (traffic, registry) = (Arc::new(Traffic::default()), Registry::new());
        registry.register(program.clone(), FAMILIES).unwrap();
        let scrapes = Scrapes::new(registry, Handle::current(), traffic.clone()).unwrap();
        let settings = settings::Metrics::default();
        let site = Site::with_metrics(&settings, PROGRAM, program.clone(), Arc::new(scrapes));
        Self::of(program, Listening::new(site, traffic, web_config, limits)).await
    }

    /// Health alone, at this path.
    pub(super) async fn health(path: &str) -> Self {
        let program = Arc::new(Stage::default());
        let settings = settings::Health { path: path.into(), ..settings::Health::default() };
        let site = Site::health_only(&settings, PROGRAM, program.clone());
        Self::of(program, Listening::for_health(&settings, site, Arc::default())).await
    }

    async fn of(program: Arc<Stage>, listening: Listening) -> Self {
        let purpose = Purpose { serves: "tests", chosen_with: "nothing" };
        let listener = bind("127.0.0.1:0".parse().unwrap(), purpose).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(listening.serve(listener));
        Self { address, program }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
        ask(self.connect().await, method, path, fields).await
    }

    /// A connection from where the server is.
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection from 127.x.x.x, the host's own in a network of 16 million.
    pub(super) async fn connect_from(&self, host: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        let address = Ipv4Addr::from_bits(0x7f00_0000 + host);
        socket.bind((address, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find_map(|(n, value)| n.eq_ignore_ascii_case(name).then_some(value))
    }

    /// How many connections were ended for this reason, in the text format.
    pub(super) fn aborted(&self, reason: &str) -> f64 {
        self.value(&format!("wzp_http_aborted_connections_total{{reason=\"{reason}\"}}"))
    }

    /// The value of a series in the text format.
    pub(super) fn value(&self, series: &str) -> f64 {
        let lines = self.text().lines();
        let found = lines.filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).next();
        found.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
    }
}

pub(super) async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}
