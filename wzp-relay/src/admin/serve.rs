//! A relay's life: set up, serve, drain, end.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quinn_proto::StdSystemTime;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{info, warn};
use wzp_telemetry::audit::Audit;
use wzp_telemetry::health::Health;
use wzp_telemetry::http::{self, Listening, Program, Purpose, Site, WebConfig};
use wzp_telemetry::lock::Mutex;
use wzp_telemetry::log::Log;
use wzp_telemetry::log::target;
use wzp_telemetry::metrics::{Scrapes, Traffic};
use wzp_telemetry::panics::{Panics, supervised};
use wzp_telemetry::trace::Trace;

use super::announce::announce;
use super::control::{Control, DrainState};
use super::drain::Signalled;
use super::health::RelayHealth;
use super::recent::Recent;
use super::reload::{CurrentIdentity, Reloading};
use super::signals::{Signals, Wish};
use super::watch;
use super::{socket, systemd, watchdog};
use crate::accounts::Accounts;
use crate::audit;
use crate::auth::authenticator::Authenticator;
use crate::auth::queue::queue;
use crate::build_info;
use crate::config::{AuthMode, Config, EbpfMode, EbpfSection, Flags};
use crate::events::Followers;
use crate::metrics::reloads::Reloads;
use crate::metrics::{self, Sources};
use crate::net::drops::ReceiveDrops;
use crate::net::run;
use crate::net::socket::{self as udp, Buffers};
use crate::paths::AUDIT_FILE;
use crate::privileges::Privileged;
use wzp_kernel::addresses::carrying;
use wzp_kernel::queues::QueueWatch;
use wzp_kernel::steering;
use wzp_kernel::{Kernel, Mode, Options};
use wzp_proto::placement::PlacementKey;
use wzp_sfu::admission::Admission;
use wzp_sfu::count::rooms::RoomCounts;
use wzp_sfu::count::sessions::SessionBook;
use wzp_sfu::shard::Shared;

/// As pages name it.
const PROGRAM: Program = Program { name: "wzp-relay", version: build_info::VERSION };

/// The listener for metrics.
pub(crate) const METRICS: Purpose =
    Purpose { serves: "metrics", chosen_with: "metrics.listen_addr or --metrics-port" };

/// The listener for health alone.
pub(crate) const HEALTH: Purpose = Purpose { serves: "health", chosen_with: "health.listen_addr" };

/// What a relay is started with.
pub struct Start {
    /// What a reload of the configuration takes.
    pub flags: Flags,
    /// The configuration.
    pub config: Config,
    /// The process's log.
    pub log: Log,
    /// The process's traces.
    pub trace: Trace,
    /// Who may do what the start needs capabilities for.
    pub privileged: Privileged,
    /// The process's panics, from [`wzp_telemetry::panics::watch`] with [`PARTS`].
    pub panics: Arc<Panics>,
}

/// The parts of the relay that panics are counted by: how their threads' names begin.
/// All others belong to the control plane.
pub const PARTS: &[&str] = &["shard", "accounts", "audit", "log", "control"];

/// Runs a relay until a signal or an operator ends it.
///
/// # Errors
/// What could not be set up, or that a shard failed; in words for the operator.
pub async fn serve(start: Start) -> Result<()> {
    let Start { flags, config, log, trace, privileged, panics } = start;
    let started = Instant::now();
    privileged.report();
    let identity = CurrentIdentity::read(&config.relay, &config.limits)?;
    let count = shard_count(&config);
    // Signals first: one that comes during the start must not be lost.
    let mut signals = Signals::new()?;
    let audit = Audit::start(&config.audit, &config.relay.state_dir.join(AUDIT_FILE))?;
    let (listen, steers) = (config.relay.listen, config.ebpf.mode != EbpfMode::Off);
    let buffer = config.relay.receive_buffer_bytes;
    let (sockets, steering, lanes) = privileged.run(move || {
        let sockets = udp::bind(listen, count, buffer)?;
        let steering = steering::start(&sockets, steers);
        let lanes = udp::open_lanes(&sockets, steering);
        Ok::<_, udp::ListenError>((sockets, steering, lanes))
    })?;
    let buffers = Buffers::of(&sockets, buffer);
    if let Some(problem) = buffers.and_then(Buffers::problem) {
        warn!(target: target::RELAY, "{problem}");
    }
    let receive_drops = ReceiveDrops::of(&sockets);
    let listening = sockets[0].local_addr().context("the UDP socket has no address")?;
    let interfaces = QueueWatch::look_after(config.ebpf.interfaces.clone(), listening.ip())
        .context("cannot start a thread")?;
    let listeners = Listeners::bind(&config, &privileged)?;

    let admin = socket::bind(&config.relay.admin_socket())?;
    let mut kernel = start_kernel(&config, listening, &privileged)?;
    let (_running, ended) = mpsc::channel();
    match kernel.take_interfaces() {
        Some(interfaces) => privileged.keep_interfaces(move || interfaces.look_after(&ended)),
        None => drop(privileged),
    }
    let (accounts, flows) = Accounts::start(kernel).context("cannot start a thread")?;
    let authenticator = Authenticator::new(&config.auth, audit.clone());
    let authenticator = Arc::new(authenticator.context("[auth]")?);
    let (auth, requests) = queue(authenticator.stats().decisions.clone());
    let shared = shared(&config, &identity, &authenticator, count, started);
    let followers = Arc::new(Followers::new(config.admin.followers, config.admin.follower_events));
    let mut shards = run::start(&shared, sockets, lanes, &flows, &auth, &audit, &followers)
        .context("cannot start the shards")?;
    tokio::spawn(authenticator.clone().serve(requests, shards.postboxes.clone()));
    let sources = Sources {
        shards: shards.stats.clone(),
        rooms: shared.rooms.clone(),
        sessions: shared.sessions.clone(),
        accounts,
        steering,
        admission: shared.admission.clone(),
        auth: authenticator.stats(),
        draining: Arc::new(AtomicBool::new(false)),
        certificate_expires: identity.expires().clone(),
        receive_drops,
        buffers,
        interfaces,
        log: Arc::new(log.reader()),
        audit: audit.clone(),
        traces: Arc::new(trace.reader()),
        reloads: Arc::new(Reloads::default()),
        followers: followers.clone(),
        panics,
        started,
    };
    let folders = vec![config.relay.state_dir.clone()];
    let health: Arc<dyn Health> = Arc::new(RelayHealth::new(sources.clone(), folders));
    let pages = listeners.pages(&config)?;
    let traffic = Arc::new(Traffic::default());
    listeners.serve(&config, &sources, &health, &traffic)?;
    // Who reads the announcement may ask at once whether the relay is ready.
    while sources.is_starting() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let needs_token = config.auth.mode != AuthMode::None;
    announce(listening, &pages, &identity.identity(), needs_token)?;
    info!(target: target::RELAY, %listening, shards = count, fingerprint = %identity.fingerprint(), "ready");
    tell_audit(&audit, "started");
    let control = Arc::new(Control {
        listening,
        flags,
        reloading: Reloading::default(),
        config: Mutex::new(Arc::new(config)),
        sources,
        shards: shards.postboxes.clone(),
        identity,
        authenticator,
        log,
        health,
        drain: DrainState::default(),
        recent: Recent::default(),
        followers,
    });
    let (admin_serves, admin_ends) = oneshot::channel();
    let admin = tokio::spawn(socket::serve(admin, control.clone(), traffic, admin_ends));
    systemd::ready();
    tokio::spawn(watchdog::watch(control.clone()));
    let watched = control.clone();
    tokio::spawn(supervised(move || watch::watch(watched.clone())));

    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                // Both wait for disks, which must not stop health and tokens.
                Wish::Reload => {
                    let control = control.clone();
                    // It says why, if it fails.
                    tokio::task::spawn_blocking(move || drop(control.reload(None)));
                }
                Wish::End(signal) => match control.end_by_signal() {
                    Signalled::Drains(_) => {
                        let control = control.clone();
                        let details = json!({ "signal": signal });
                        tokio::task::spawn_blocking(move || {
                            control.report(None, "drain", details, Ok(()));
                        });
                    }
                    Signalled::EndsAtOnce => {
                        info!(target: target::RELAY, signal, "ending at once");
                        break;
                    }
                },
            },
            () = control.ended() => break,
            () = shards.failed() => {
                // Clients of the other shards are told at least.
                tokio::task::spawn_blocking(move || shards.stop()).await.ok();
                tell_audit(&audit, "failed");
                trace.shutdown().await;
                bail!("a shard failed and cannot begin again; the log says why");
            }
        }
    }
    systemd::stopping(Duration::ZERO);
    tokio::task::spawn_blocking(move || shards.stop()).await.context("the shards did not stop")?;
    drop(admin_serves);
    admin.await.context("the admin socket failed")?;
    control.drain.ends("the relay ends");
    tell_audit(&audit, "stopped");
    info!(target: target::RELAY, "stopped");
    // A reload that waits for its files still has the log.
    let _ = control.log.flush();
    trace.shutdown().await;
    Ok(())
}

fn tell_audit(audit: &Audit, what: &str) {
    if let Err(error) = audit::lifecycle(audit, what) {
        warn!(target: target::RELAY, %error, what, "the audit log lacks this");
    }
}

/// How many threads forward.
pub(crate) fn shard_count(config: &Config) -> usize {
    match config.relay.shards {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(crate::config::MAX_SHARDS),
        given => given,
    }
}

/// The open TCP listeners, and what protects the first.
struct Listeners {
    metrics: Option<tokio::net::TcpListener>,
    web: Option<WebConfig>,
    health: Option<tokio::net::TcpListener>,
}

impl Listeners {
    fn bind(config: &Config, privileged: &Privileged) -> Result<Self> {
        let mut listeners = Self { metrics: None, web: None, health: None };
        // A port below 1024 takes a capability.
        let bind = |address, purpose| {
            let runtime = Handle::current();
            privileged.run(move || runtime.block_on(http::bind(address, purpose)))
        };
        if config.metrics.enabled {
            let web = config.metrics.web_config.as_deref();
            listeners.web = web.map(WebConfig::load).transpose()?;
            listeners.metrics = Some(bind(config.metrics.listen_addr, METRICS)?);
        }
        if config.health.enabled {
            listeners.health = Some(bind(config.health.listen_addr, HEALTH)?);
        }
        Ok(listeners)
    }

    /// What can be asked where: a name and a URL each, with the address that is bound.
    fn pages(&self, config: &Config) -> Result<Vec<(&'static str, String)>> {
        let tls = self.web.as_ref().is_some_and(WebConfig::has_tls);
        let scheme = if tls { "https" } else { "http" };
        let pages = [
            (&self.metrics, "metrics", scheme, &config.metrics.path),
            (&self.health, "health", "http", &config.health.path),
        ];
        let pages = pages.into_iter().filter_map(|(listener, name, scheme, path)| {
            let address = listener.as_ref()?.local_addr();
            Some(address.map(|address| (name, format!("{scheme}://{address}{path}"))))
        });
        pages.collect::<Result<_, _>>().context("a listener has no address")
    }

    fn serve(
        self,
        config: &Config,
        sources: &Sources,
        health: &Arc<dyn Health>,
        traffic: &Arc<Traffic>,
    ) -> Result<()> {
        if let Some(listener) = self.metrics {
            let registry = metrics::registry(sources.clone(), health.clone())?;
            let scrapes = Arc::new(Scrapes::new(registry, Handle::current(), traffic.clone())?);
            let site = Site::with_metrics(&config.metrics, PROGRAM, health.clone(), scrapes);
            let listening =
                Listening::for_metrics(&config.metrics, site, traffic.clone(), self.web);
            tokio::spawn(listening.serve(listener));
        }
        if let Some(listener) = self.health {
            let site = Site::health_only(&config.health, PROGRAM, health.clone());
            let listening = Listening::for_health(&config.health, site, traffic.clone());
            tokio::spawn(listening.serve(listener));
        }
        Ok(())
    }
}

/// Has the kernel count, as far as it is wanted and can be done.
fn start_kernel(config: &Config, listening: SocketAddr, privileged: &Privileged) -> Result<Kernel> {
    let EbpfSection { mode, interfaces, .. } = &config.ebpf;
    if *mode == EbpfMode::Auto && interfaces.is_empty() {
        let names = carrying(listening.ip());
        info!(target: target::RELAY,
            "the relay counts by itself; to have the kernel count, name the interface, \
             for example --interface {}",
            names.first().map_or("eth0", String::as_str)
        );
    }
    let options = kernel_options(&config.ebpf, listening);
    let kernel = privileged.run(move || Kernel::start(&options));
    kernel.context("the kernel cannot count (--ebpf require)")
}

/// How the kernel shall count what comes to that address.
pub(crate) fn kernel_options(ebpf: &EbpfSection, listening: SocketAddr) -> Options {
    Options {
        mode: match ebpf.mode {
            EbpfMode::Auto if ebpf.interfaces.is_empty() => Mode::Off,
            EbpfMode::Off => Mode::Off,
            EbpfMode::Auto => Mode::Auto,
            EbpfMode::Require => Mode::Require,
        },
        interfaces: ebpf.interfaces.clone(),
        port: listening.port(),
        capacity: ebpf.slots,
        trace: ebpf.trace,
    }
}

fn shared(
    config: &Config,
    current: &CurrentIdentity,
    authenticator: &Authenticator,
    shards: usize,
    started: Instant,
) -> Shared {
    let limits = Arc::new(config.limits.clone());
    let metrics = &config.metrics;
    Shared {
        software: crate::SOFTWARE,
        shards,
        placement: PlacementKey::new(rand::random()),
        server: current.server(),
        reset_key: current.identity().reset_key(),
        admission: Admission::new(&limits, started),
        rooms: Arc::new(RoomCounts::new(
            metrics.max_room_series,
            metrics.room_label,
            metrics.keep_ended,
        )),
        sessions: Arc::new(SessionBook::new(metrics.max_session_series, metrics.keep_ended)),
        auth: authenticator.patience(),
        decisions: authenticator.stats().decisions.clone(),
        // The other half passes between turns, before the shard has the frame.
        hold: config.forward.bundle_window / 2,
        start: started,
        clock: Arc::new(StdSystemTime),
        limits,
    }
}
