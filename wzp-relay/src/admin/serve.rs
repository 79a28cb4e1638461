//! A relay's life: set up, serve, drain, end.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use quinn_proto::ServerConfig;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;
use wzp_telemetry::health::Health;
use wzp_telemetry::http::{self, Program, Purpose, Site, Traffic, WebConfig};
use wzp_telemetry::metrics::Scrapes;
use wzp_telemetry::settings;
use wzp_transport::identity::Identity;
use wzp_transport::parameters;

use super::health::RelayHealth;
use super::socket;
use crate::config::{Config, EbpfMode, EbpfSection};
use crate::kernel::{Accounts, Kernel, Mode, Options};
use crate::metrics::rooms::RoomCounts;
use crate::metrics::sessions::SessionBook;
use crate::metrics::{self, ExternalCount, Sources};
use crate::net::drops::ReceiveDrops;
use crate::net::run::{self, Shards};
use crate::net::socket as udp;
use crate::net::steering;
use crate::session::admission::{Admission, Population};
use crate::shard::Shared;
use crate::shard::mail::Mail;

/// As pages name it.
const PROGRAM: Program = Program { name: "wzp-relay", version: env!("CARGO_PKG_VERSION") };

/// The listener for metrics.
const METRICS: Purpose =
    Purpose { serves: "metrics", chosen_with: "metrics.listen_addr or --metrics-port" };

/// Runs a relay until a signal ends it.
///
/// # Errors
/// What could not be set up, or that a shard failed; in words for the operator.
pub async fn serve(config: Config, log_lines_dropped: ExternalCount) -> Result<()> {
    let started = Instant::now();
    let identity = match (&config.relay.cert, &config.relay.key) {
        (Some(cert), Some(key)) => Identity::from_files(cert, key)?,
        _ => Identity::load_or_create(&config.relay.state_dir)?,
    };
    let count = match config.relay.shards {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(crate::config::MAX_SHARDS),
        given => given,
    };
    // Signals first: one that comes during the start must not be lost.
    let mut signals = Signals::new()?;
    let sockets = udp::bind(config.relay.listen, count)?;
    let steering = steering::start(&sockets, config.ebpf.mode != EbpfMode::Off);
    udp::warn_of_small_buffers(&sockets);
    let receive_drops = ReceiveDrops::of(&sockets);
    let listening = sockets[0].local_addr().context("the UDP socket has no address")?;
    let listener = http::bind(config.metrics.listen_addr, METRICS).await?;
    let metrics_at = listener.local_addr().context("the metrics listener has no address")?;

    let admin = socket::bind(&config.relay.admin_socket())?;
    let kernel = start_kernel(&config, listening)?;
    let (accounts, flows) = Accounts::start(kernel).context("cannot start a thread")?;
    let shared = shared(&config, &identity, count, started)?;
    let mut shards = run::start(&shared, sockets, &flows).context("cannot start the shards")?;
    let sources = Sources {
        shards: shards.stats.clone(),
        rooms: shared.rooms.clone(),
        sessions: shared.sessions.clone(),
        accounts,
        steering,
        admission: shared.admission.clone(),
        draining: Arc::new(AtomicBool::new(false)),
        receive_drops,
        log_lines_dropped,
        started,
    };
    // Aborted at the end, so that the socket's file goes.
    let admin = tokio::spawn(socket::serve(admin, sources.accounts.clone()));
    let settings = settings::Metrics {
        listen_addr: config.metrics.listen_addr,
        max_room_series: config.metrics.max_room_series,
        max_session_series: config.metrics.max_session_series,
        ..settings::Metrics::default()
    };
    let web_config = settings.web_config.as_deref().map(WebConfig::load).transpose()?;
    let folders = vec![config.relay.state_dir.clone()];
    let health: Arc<dyn Health> = Arc::new(RelayHealth::new(sources.clone(), folders));
    let traffic = Arc::new(Traffic::default());
    let registry = metrics::registry(sources.clone(), health.clone())?;
    let scrapes = Arc::new(Scrapes::new(registry, Handle::current(), traffic.clone())?);
    let site = Site::with_metrics(&settings, PROGRAM, health, scrapes);
    tokio::spawn(http::serve(listener, site, traffic, web_config));
    // Who reads the announcement may ask at once whether the relay is ready.
    while sources.is_starting() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    announce(listening, metrics_at, &identity)?;
    info!(%listening, metrics = %metrics_at, shards = count, fingerprint = %identity.fingerprint(), "ready");

    tokio::select! {
        name = signals.next() => info!(signal = name, "draining"),
        () = shards.failed() => {
            // Clients of the other shards are told at least.
            tokio::task::spawn_blocking(move || shards.stop()).await.ok();
            bail!("a shard failed; see the message above");
        }
    }
    sources.draining.store(true, Ordering::Relaxed);
    drain(&shards, &sources, config.relay.drain_timeout, &mut signals).await;
    tokio::task::spawn_blocking(move || shards.stop()).await.context("the shards did not stop")?;
    admin.abort();
    let _ = admin.await;
    info!("stopped");
    Ok(())
}

/// Has the kernel count, as far as it is wanted and can be done.
fn start_kernel(config: &Config, listening: SocketAddr) -> Result<Kernel> {
    let EbpfSection { mode, interfaces, slots, trace } = &config.ebpf;
    let nothing_named = interfaces.is_empty();
    if *mode == EbpfMode::Auto && nothing_named {
        let names = interfaces_of(listening.ip());
        info!(
            "the relay counts by itself; to have the kernel count, name the interface, \
             for example --interface {}",
            names.first().map_or("eth0", String::as_str)
        );
    }
    let options = Options {
        mode: match mode {
            EbpfMode::Auto if nothing_named => Mode::Off,
            EbpfMode::Off => Mode::Off,
            EbpfMode::Auto => Mode::Auto,
            EbpfMode::Require => Mode::Require,
        },
        interfaces: interfaces.clone(),
        port: listening.port(),
        capacity: *slots,
        trace: *trace,
    };
    Kernel::start(&options).context("the kernel cannot count (--ebpf require)")
}

/// The interfaces that carry the address; all but loopback for `[::]`.
fn interfaces_of(ip: IpAddr) -> Vec<String> {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let carries = |address: &nix::sys::socket::SockaddrStorage| {
        let own = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let own = own.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        own.is_some_and(|own| own == ip || (ip.is_unspecified() && !own.is_loopback()))
    };
    let mut names: Vec<_> = addresses
        .filter(|interface| interface.address.as_ref().is_some_and(carries))
        .map(|interface| interface.interface_name)
        .collect();
    names.dedup();
    names
}

fn shared(config: &Config, identity: &Identity, shards: usize, started: Instant) -> Result<Shared> {
    let limits = Arc::new(config.limits.clone());
    let mut server = ServerConfig::with_crypto(identity.quic_server_config()?);
    server.transport_config(Arc::new(parameters::relay(limits.idle_timeout, limits.message_bytes)));
    Ok(Shared {
        shards,
        server: Arc::new(server),
        reset_key: identity.reset_key(),
        admission: Admission::new(&limits),
        rooms: Arc::new(RoomCounts::new(config.metrics.max_room_series)),
        sessions: Arc::new(SessionBook::new(config.metrics.max_session_series)),
        // The other half passes between turns, before the shard has the frame.
        hold: config.forward.bundle_window / 2,
        epoch: (started, SystemTime::now()),
        limits,
    })
}

/// Tells whoever started the relay what it needs to know, a fact a line.
fn announce(listening: SocketAddr, metrics: SocketAddr, identity: &Identity) -> Result<()> {
    let fingerprint = identity.fingerprint();
    let near = |address: SocketAddr| match address.ip() {
        ip if ip.is_unspecified() => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
        }
        _ => address,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {listening}")?;
    writeln!(out, "fingerprint {fingerprint}")?;
    writeln!(out, "metrics on http://{}/metrics", near(metrics))?;
    writeln!(out, "join from this machine with:")?;
    writeln!(
        out,
        "wzp-client --pin {fingerprint} --room lobby --send-tone 10 {}",
        near(listening)
    )?;
    out.flush()?;
    Ok(())
}

/// Waits until everyone has left, at most until the deadline or a second signal.
async fn drain(shards: &Shards, sources: &Sources, patience: Duration, signals: &mut Signals) {
    /// After the deadline, to repeat CONNECTION_CLOSE where it was lost.
    const GRACE: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + patience;
    shards.postboxes.iter().for_each(|shard| shard.post(Mail::Drain { deadline }));
    let everyone_left = async {
        let nobody = Population { sessions: 0, handshakes: 0, closing: 0, sources: 0 };
        while sources.admission.population() != nobody {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = everyone_left => {}
        () = tokio::time::sleep(patience + GRACE) => {}
        name = signals.next() => info!(signal = name, "ending at once"),
    }
}

/// The signals that end a relay.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
