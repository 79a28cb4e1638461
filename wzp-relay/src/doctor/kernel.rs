//! What this process may do, what the kernel can, and which hook each interface would get.

use std::thread;

use wzp_kernel as kernel;
use wzp_kernel::addresses::carrying;
use wzp_kernel::steering::{self, Steering};
use wzp_kernel::{Forecast, Hook, Kernel};

use super::Teller;
use super::report::{Line, Status};
use crate::admin::serve::kernel_options;
use crate::check::Running;
use crate::config::{Config, EbpfMode};
use crate::net::socket as udp;
use crate::privileges::confinement::{self, Confinement};
use crate::shell;

/// Whether the kernel takes the programs that count, or why not.
type Taken = Result<(), String>;

/// `running`: the relay that runs with the same state directory.
pub(super) fn look(config: &Config, running: Option<&Running>, teller: &Teller) {
    let interfaces = &config.ebpf.interfaces;
    let mut taken = Ok(());
    teller.look("capabilities", || {
        taken = take(config);
        vec![capabilities(config, &taken)]
    });
    teller.look("confinement", || vec![confinement()]);
    teller.look("steering", || vec![steering(config)]);
    if config.ebpf.mode != EbpfMode::Off {
        let carrying = || carrying(config.relay.listen.ip());
        let is_wanted = !interfaces.is_empty();
        let names = if is_wanted { interfaces.clone() } else { carrying() };
        for name in names {
            let wanted = is_wanted.then_some(config.ebpf.mode);
            teller.look("interface", || vec![interface(&name, wanted, running, &taken)]);
        }
    }
}

/// Loads the programs: a user namespace, a seccomp filter or a security module may forbid
/// what the capabilities of this process allow.
fn take(config: &Config) -> Taken {
    if config.ebpf.mode == EbpfMode::Off {
        return Ok(());
    }
    let options = kernel_options(&config.ebpf, config.relay.listen);
    Kernel::try_programs(&options).map_err(|error| kernel::sentence(&error))
}

/// How bad it is that the kernel does not count on what is named.
const fn severity(mode: EbpfMode) -> Status {
    match mode {
        EbpfMode::Require => Status::Error,
        EbpfMode::Auto | EbpfMode::Off => Status::Warning,
    }
}

/// Whether the relay has what its settings take.
fn capabilities(config: &Config, taken: &Taken) -> Line {
    const CHECK: &str = "capabilities";
    let is_wanted = config.ebpf.mode != EbpfMode::Off && !config.ebpf.interfaces.is_empty();
    let missing = kernel::missing_capabilities();
    if missing.is_empty() {
        return match taken {
            Ok(()) => Line::ok(CHECK, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there"),
            Err(reason) if is_wanted => {
                Line::new(CHECK, severity(config.ebpf.mode), format!("of no use: {reason}"))
            }
            Err(reason) => {
                Line::ok(CHECK, format!("of no use, and nothing that is set takes them: {reason}"))
            }
        };
    }
    let lacks = missing.join(", ");
    if !is_wanted {
        let text = format!(
            "{lacks} missing, but not needed; with them sockets could have \
             more than net.core.rmem_max, and the kernel steer and count with eBPF"
        );
        return Line::ok(CHECK, text);
    }
    let text = format!("{lacks} missing, which counting in the kernel takes, or makes slow");
    let program = std::env::current_exe().unwrap_or_else(|_| "wzp-relay".into());
    let program = shell::path(&program);
    Line::new(CHECK, severity(config.ebpf.mode), text)
        .mended_by(format!("setcap cap_bpf,cap_net_admin,cap_perfmon+ep {program}"))
}

/// How far Landlock confines shards here, tried on a thread.
fn confinement() -> Line {
    const CHECK: &str = "confinement";
    match thread::spawn(confinement::confine).join() {
        Ok(Ok(Confinement::Full)) => Line::ok(CHECK, "Landlock keeps shards from files and TCP"),
        Ok(Ok(Confinement::Partial)) => {
            Line::ok(CHECK, "Landlock keeps shards from files, and an older kernel from less")
        }
        Ok(Ok(Confinement::None)) => {
            let text = "this kernel has no Landlock, or it is off (lsm= on its command line): \
                        shards can open files";
            Line::warning(CHECK, text)
        }
        Ok(Err(error)) => Line::warning(CHECK, format!("shards are not confined: {error}")),
        Err(_) => Line::warning(CHECK, "it could not be tried"),
    }
}

/// What would steer packets to shards, tried with sockets of its own.
fn steering(config: &Config) -> Line {
    const CHECK: &str = "steering";
    let ebpf = config.ebpf.mode != EbpfMode::Off;
    let relay = &config.relay;
    let steering = match udp::trial(relay.listen.ip(), 2, relay.receive_buffer_bytes) {
        Ok(sockets) => steering::start(&sockets, ebpf),
        // Whether the relay's own address can be had is told with it.
        Err(error) => return Line::warning(CHECK, format!("it could not be tried: {error}")),
    };
    match steering {
        Steering::Ebpf => Line::ok(CHECK, "an eBPF program steers packets to shards"),
        Steering::Classic => Line::ok(CHECK, "a classic BPF filter steers packets to shards"),
        Steering::None => {
            let text = "the kernel cannot steer packets to shards: they hand them on, which is \
                        slower, and one interface that stalls may hold up others";
            Line::warning(CHECK, text)
        }
    }
}

/// Which hooks an interface would get. Those that nobody has named are told for who
/// thinks of it: `wanted` is the mode in which one is named.
fn interface(
    name: &str,
    wanted: Option<EbpfMode>,
    running: Option<&Running>,
    taken: &Taken,
) -> Line {
    const CHECK: &str = "interface";
    let forecast = match (kernel::forecast(name), wanted) {
        (Ok(forecast), _) => forecast,
        (Err(error), Some(_)) => {
            let command = format!("ip -details link show dev {}", shell::word(name));
            return Line::error(CHECK, kernel::sentence(&error)).mended_by(command);
        }
        (Err(error), None) => {
            return Line::ok(CHECK, format!("{name} could not be counted on: {error}"));
        }
    };
    let Forecast { interface, rx, rx_fallback } = forecast;
    // What is there then is its own, which it gets again.
    let own = running.into_iter().flat_map(|running| &running.interfaces);
    let mut own = own.filter(|own| own.name == interface && own.rx != Hook::None.name());
    if let Some(own) = own.next() {
        let text = format!("{name} has {} and {}, of the relay that runs", own.rx, own.tx);
        return Line::ok(CHECK, text);
    }
    let why = rx_fallback.map(|why| format!(" ({why})")).unwrap_or_default();
    let hooks = format!("{}{why} and {}", rx.name(), Hook::TcxEgress.name());
    match (wanted, taken) {
        (Some(_), Ok(())) => Line::ok(CHECK, format!("{name} gets {hooks}")),
        (None, Ok(())) => {
            Line::ok(CHECK, format!("{name} is not named (--interface); it would get {hooks}"))
        }
        (Some(mode), Err(reason)) => {
            let text = format!("{name} would get {hooks}, and gets nothing: {reason}");
            Line::new(CHECK, severity(mode), text)
        }
        (None, Err(reason)) => {
            let text =
                format!("{name} is not named (--interface), and would get nothing: {reason}");
            Line::ok(CHECK, text)
        }
    }
}
