//! The command line.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{Config, EbpfMode};
use crate::admin::flows;

/// Media relay for voice over QUIC: participants join a room and the relay
/// forwards each one's voice to all others.
#[derive(Debug, Default, Parser)]
#[command(
    version,
    after_help = "\
Signals: SIGTERM and SIGINT drain (nobody new, sessions may end until the drain \
time-out) and exit with code 0; a second one exits at once.

Exit codes: 0 ended as asked, 1 could not start or failed, 2 wrong usage."
)]
pub struct Cli {
    /// Without a command a relay is started.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// UDP address to listen on for participants; without it all addresses,
    /// IPv6 and IPv4, port 4433
    #[arg(long, value_name = "ADDR:PORT", env = "WZP_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// TCP port of /metrics, /health and /ready, on all addresses; without it
    /// 9090 on 127.0.0.1 only
    #[arg(long, value_name = "PORT", env = "WZP_METRICS_PORT")]
    pub metrics_port: Option<u16>,

    /// Whether the kernel counts packets: require it, do without any eBPF
    /// program, or count there if it can be done; without it auto
    #[arg(long, value_name = "MODE", env = "WZP_EBPF", value_enum)]
    pub ebpf: Option<EbpfMode>,

    /// Interface on which the kernel counts; may be given several times. Needs
    /// CAP_BPF and CAP_NET_ADMIN
    #[arg(long = "interface", value_name = "NAME", env = "WZP_INTERFACE", value_delimiter = ',')]
    pub interfaces: Vec<String>,

    /// Configuration file (TOML) with the sections relay, metrics, ebpf and limits
    #[arg(long, value_name = "FILE", env = "WZP_CONFIG", global = true)]
    pub config: Option<PathBuf>,

    /// PEM file with the certificate chain; without one a self-signed identity
    /// is made once and kept
    #[arg(long, value_name = "FILE", env = "WZP_CERT")]
    pub cert: Option<PathBuf>,

    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", env = "WZP_KEY")]
    pub key: Option<PathBuf>,

    /// Where the self-signed identity is kept; without it /var/lib/wzp-relay for
    /// root, ~/.local/state/wzp-relay for others
    #[arg(long, value_name = "DIR", env = "WZP_STATE_DIR", global = true)]
    pub state_dir: Option<PathBuf>,

    /// Threads that forward, each with its own socket; without it one per core
    #[arg(long, value_name = "N", env = "WZP_SHARDS",
          value_parser = clap::value_parser!(u16).range(1..=super::MAX_SHARDS as i64))]
    pub shards: Option<u16>,

    /// How long a frame may wait for others to the same receiver, to leave in one
    /// packet, for example 2ms; 0s for not at all
    #[arg(long, value_name = "TIME", env = "WZP_BUNDLE_WINDOW", value_parser = humantime::parse_duration)]
    pub bundle_window: Option<std::time::Duration>,

    /// How long sessions may go on after SIGTERM, for example 30s
    #[arg(long, value_name = "TIME", env = "WZP_DRAIN_TIMEOUT", value_parser = humantime::parse_duration)]
    pub drain_timeout: Option<std::time::Duration>,
}

/// What can be done with a relay that runs. It is found by its state directory.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show the busiest flows, as the kernel counts them
    Flows(flows::Options),
    /// Drop packets from an address before they reach the relay
    Block {
        /// IPv4 or IPv6
        ip: IpAddr,
    },
    /// Take packets from a blocked address again
    Unblock {
        /// IPv4 or IPv6
        ip: IpAddr,
    },
    /// The log of who did what
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// What can be done with an audit log, whether or not a relay runs.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no record was changed, deleted, added or moved
    Verify {
        /// The file; without it the relay's own
        file: Option<PathBuf>,
    },
}

impl Cli {
    /// Puts what was given over what the file said.
    pub(super) fn apply(&self, config: &mut Config) {
        let relay = &mut config.relay;
        if let Some(listen) = self.listen {
            relay.listen = listen;
        }
        if let Some(port) = self.metrics_port {
            config.metrics.listen_addr = (Ipv6Addr::UNSPECIFIED, port).into();
        }
        if let Some(directory) = &self.state_dir {
            relay.state_dir.clone_from(directory);
        }
        if let Some(shards) = self.shards {
            relay.shards = shards.into();
        }
        if let Some(timeout) = self.drain_timeout {
            relay.drain_timeout = timeout;
        }
        if let Some(window) = self.bundle_window {
            config.forward.bundle_window = window;
        }
        if let Some(mode) = self.ebpf {
            config.ebpf.mode = mode;
        }
        if !self.interfaces.is_empty() {
            config.ebpf.interfaces.clone_from(&self.interfaces);
        }
        // A certificate on the command line comes with its own key.
        if self.cert.is_some() || self.key.is_some() {
            relay.cert.clone_from(&self.cert);
            relay.key.clone_from(&self.key);
        }
    }
}
