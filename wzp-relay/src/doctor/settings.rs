//! Whether a relay would start with its settings: what `config check` finds, by what it
//! is about, and what is well where it finds nothing.

use std::net::SocketAddr;

use wzp_telemetry::http::WebConfig;
use wzp_transport::identity::IDENTITY_FILE;

use super::Teller;
use super::certificate;
use super::owner::{self, Owner, Protocol};
use super::report::{Line, Status};
use crate::check::{Findings, Running, examine};
use crate::config::{AuthMode, Complaint, Config, Loaded};
use crate::net::socket::Buffers;
use crate::shell;
use crate::words::counted;

/// What is looked at, and the keys that are about it.
const CHECKS: [(&str, &[&str]); 10] = [
    ("clients_port", &["relay.listen"]),
    ("metrics_port", &["metrics.listen_addr"]),
    ("health_port", &["health.listen_addr"]),
    ("buffers", &["relay.receive_buffer_bytes"]),
    ("certificate", &["relay.cert", "relay.key"]),
    ("state", &["relay.state_dir"]),
    ("log", &["logging.file", "logging.level"]),
    ("audit", &["audit.file", "audit.enabled"]),
    ("metrics_protection", &["metrics.web_config"]),
    ("counting", &["ebpf.interfaces", "ebpf.mode"]),
];

/// All that no other check is about.
const REST: &str = "configuration";

/// Gives the relay that runs with the state directory, if there is one.
pub(super) fn look(loaded: &Loaded, teller: &Teller) -> Option<Running> {
    let mut running = None;
    teller.look(REST, || {
        let mut lines: Vec<_> =
            loaded.warnings.iter().map(|text| Line::warning(REST, text.clone())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                let mut found = runtime.block_on(examine(&loaded.config));
                lines.extend(told(loaded, &mut found));
                running = found.running;
            }
            Err(error) => lines.push(Line::error(REST, error.to_string())),
        }
        if lines.iter().all(|line| line.check != REST) {
            let text = format!("good; set by you: {}", counted(loaded.keys_set(), "key"));
            lines.push(Line::ok(REST, text));
        }
        lines
    });
    teller.look("exposure", || exposure(loaded));
    running
}

/// Takes what is wrong out of what was found.
fn told(loaded: &Loaded, found: &mut Findings) -> Vec<Line> {
    let with = |status| move |complaint| (status, complaint);
    let errors = [std::mem::take(&mut found.errors), std::mem::take(&mut found.unwritable)];
    let errors = errors.into_iter().flatten().map(with(Status::Error));
    let warnings = std::mem::take(&mut found.warnings).into_iter().map(with(Status::Warning));
    let wrong: Vec<_> = errors.chain(warnings).collect();
    let mut lines: Vec<_> = wrong
        .into_iter()
        .map(|(status, complaint)| line(loaded, found, status, complaint))
        .collect();
    let config = &loaded.config;
    for (check, keys) in CHECKS {
        if lines.iter().all(|line| line.check != check) {
            let in_use = keys.iter().any(|key| found.busy.contains(key));
            let text =
                if in_use { Some(in_use_by_relay()) } else { good(check, config, found.buffers) };
            lines.extend(text.map(|text| Line::ok(check, text)));
        }
    }
    let validity = found.validity.take().map(|validity| validity.text);
    lines.extend(certificate::look(config, validity));
    lines.extend(found.note.take().zip(found.running.as_ref()).map(running));
    lines
}

fn running((note, relay): (String, &Running)) -> Line {
    const CHECK: &str = "running";
    if relay.answers {
        return Line::ok(CHECK, note);
    }
    let command = relay.pid.map(|pid| {
        let shown = Owner::process(pid).shown_by();
        shown.unwrap_or_else(|| format!("ps -o pid,stat,wchan:20,etime,args -p {pid}"))
    });
    let line = Line::warning(CHECK, note);
    match command {
        Some(command) => line.mended_by(command),
        None => line,
    }
}

fn in_use_by_relay() -> String {
    "in use by the relay that runs with this state directory".into()
}

fn line(loaded: &Loaded, found: &Findings, status: Status, mut complaint: Complaint) -> Line {
    let about = |(_, keys): &&(&str, &[&str])| complaint.keys.iter().any(|key| keys.contains(key));
    let check = CHECKS.iter().find(about).map_or(REST, |(check, _)| *check);
    let is_in_use = complaint.keys.iter().any(|key| found.in_use.contains(key));
    let wanted = address(check, &loaded.config).filter(|_| is_in_use);
    let owners = wanted.map(|(protocol, address)| owner::of(protocol, address));
    let owners = owners.unwrap_or_default();
    let relay = found.running.as_ref().and_then(|running| running.pid);
    // One that hangs does not tell what it has.
    if owners.iter().any(|owner| Some(owner.pid) == relay) {
        return Line::ok(check, in_use_by_relay());
    }
    let shown = owners.first().and_then(Owner::shown_by);
    let command = complaint.command.take().or(shown).or_else(|| mend(check, &loaded.config));
    let problem = loaded.located(complaint).to_string();
    let text = match &owners[..] {
        [] => problem,
        owners => format!("{problem}; {}", owner::listed(owners)),
    };
    let line = Line::new(check, status, text);
    match command {
        Some(command) => line.mended_by(command),
        None => line,
    }
}

/// The address that a check is about.
fn address(check: &str, config: &Config) -> Option<(Protocol, SocketAddr)> {
    match check {
        "clients_port" => Some((Protocol::Udp, config.relay.listen)),
        "metrics_port" => Some((Protocol::Tcp, config.metrics.listen_addr)),
        "health_port" => Some((Protocol::Tcp, config.health.listen_addr)),
        _ => None,
    }
}

/// What shows more of it, whatever exactly it is.
fn mend(check: &str, config: &Config) -> Option<String> {
    let relay = &config.relay;
    if let Some((protocol, address)) = address(check, config) {
        let table = match protocol {
            Protocol::Udp => 'u',
            Protocol::Tcp => 't',
        };
        return Some(format!("ss -apn{table} 'sport = :{}'", address.port()));
    }
    Some(match check {
        "certificate" => {
            let own = || relay.state_dir.join(IDENTITY_FILE);
            let file = relay.cert.clone().unwrap_or_else(own);
            format!("openssl x509 -noout -subject -dates -in {}", shell::path(&file))
        }
        "state" => format!("ls -ld {}", shell::path(&relay.state_dir)),
        "counting" => "ip -brief link".into(),
        _ => return None,
    })
}

/// What is well; `None` where there is nothing to say.
fn good(check: &str, config: &Config, buffers: Option<Buffers>) -> Option<String> {
    let Config { relay, metrics, health, logging, audit, ebpf, .. } = config;
    let web = metrics.web_config.as_deref().filter(|_| metrics.enabled);
    Some(match check {
        "clients_port" => format!("UDP {} is free", relay.listen),
        "metrics_port" if metrics.enabled => format!("TCP {} is free", metrics.listen_addr),
        "health_port" if health.enabled => format!("TCP {} is free", health.listen_addr),
        "buffers" => {
            let Buffers { receive: (receive, _), send: (send, _) } = buffers?;
            format!("sockets get {receive} bytes to receive and {send} to send")
        }
        "state" => format!("{} can be used", relay.state_dir.display()),
        "log" => match &logging.file {
            Some(file) => format!("{} can be written", file.display()),
            None => "goes to standard error".into(),
        },
        "audit" if audit.enabled => "can be written".into(),
        "metrics_protection" => protection(&WebConfig::load(web?).ok()?).into(),
        "counting" if ebpf.interfaces.is_empty() => {
            "the relay counts by itself: no interface is named".into()
        }
        "counting" => "the kernel takes the programs that count".into(),
        _ => return None,
    })
}

fn protection(web: &WebConfig) -> &'static str {
    match (web.has_tls(), web.asks_who()) {
        (true, true) => "TLS, for those with a password or a certificate",
        (true, false) => "TLS, for everybody",
        (false, true) => "passwords without TLS",
        (false, false) => "none",
    }
}

fn exposure(loaded: &Loaded) -> Vec<Line> {
    let open = loaded.open();
    if open.is_empty() {
        let who = match loaded.config.auth.mode {
            AuthMode::None => "rooms are open to all who reach them, as is meant",
            AuthMode::Jwt | AuthMode::Webhook => "tokens say who may join",
        };
        return vec![Line::ok("exposure", who)];
    }
    let told = open.into_iter().map(|complaint| loaded.located(complaint).to_string());
    told.map(|text| Line::warning("exposure", text)).collect()
}
