//! Three hosts on one network: a relay, the callers and the strangers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use wzp_proto::DEFAULT_PORT;
use wzp_testbed::netns::{Host, Network};
use wzp_testbed::relay::{Launch, Relay};
use wzp_transport::fingerprint::Fingerprint;

/// Where the relay serves metrics and health.
const METRICS_PORT: u16 = 9090;

/// Networks that are all the strangers': routed to them, and every address of them
/// is theirs.
const STRANGERS_V4: &str = "10.78.0.0/16";
const STRANGERS_V6: &str = "fd78::/32";

/// The relay, the two callers and the attacker, each on a host of its own.
#[derive(Debug)]
pub struct Scene {
    network: Network,
    folder: TempDir,
}

/// Whom to attack, as one who attacks knows it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The relay's address for clients.
    pub relay: SocketAddr,
    /// The same over IPv6.
    pub relay_v6: SocketAddr,
    /// Its port for metrics and health.
    pub http: SocketAddr,
    /// The fingerprint of the relay's certificate.
    pub pin: Fingerprint,
}

impl Scene {
    /// Makes the hosts.
    ///
    /// # Errors
    /// This process may not make namespaces.
    pub fn new() -> Result<Self> {
        let network = Network::new(&["relay", "callers", "strangers"])?;
        let scene = Self { network, folder: tempfile::tempdir()? };
        let strangers = scene.strangers();
        // Without it only IPv4 sockets take addresses that a local route alone has.
        let allow = "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind";
        let status = strangers.namespace.command("sh").args(["-c", allow]).status()?;
        ensure!(status.success(), "cannot write net.ipv6.ip_nonlocal_bind");
        for (version, net) in [("-4", STRANGERS_V4), ("-6", STRANGERS_V6)] {
            ip(strangers, &[version, "route", "add", "local", net, "dev", "lo"])?;
        }
        let (v4, v6) = (strangers.v4.to_string(), strangers.v6.to_string());
        for (version, net, via) in [("-4", STRANGERS_V4, v4), ("-6", STRANGERS_V6, v6)] {
            ip(scene.relay_host(), &[version, "route", "add", net, "via", &via])?;
        }
        Ok(scene)
    }

    /// Where the relay is.
    pub fn relay_host(&self) -> &Host {
        &self.network.hosts()[0]
    }

    /// Where the honest are.
    pub fn callers(&self) -> &Host {
        &self.network.hosts()[1]
    }

    /// Where attacks come from.
    pub fn strangers(&self) -> &Host {
        &self.network.hosts()[2]
    }

    /// Starts the relay with this configuration.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&self, config: &str) -> Result<(Relay<'_>, Target)> {
        let file = self.folder.path().join("relay.toml");
        std::fs::write(&file, format!("[metrics]\nlisten_addr = '[::]:{METRICS_PORT}'\n{config}"))?;
        let host = self.relay_host();
        let launch = Launch::on(
            &host.namespace,
            (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            self.folder.path(),
        );
        let mut command = host.namespace.command(&launch.program);
        command.arg("--config").arg(&file).args(["--shards", "2", "--state-dir"]);
        command.arg(&launch.state_dir).args(["--listen", &launch.listen.to_string()]);
        let relay = Relay::from_command(command, Some(&host.namespace))?;
        let pin = relay.fingerprint().parse().map_err(anyhow::Error::msg)?;
        let target = Target {
            relay: (host.v4, DEFAULT_PORT).into(),
            relay_v6: (host.v6, DEFAULT_PORT).into(),
            http: (host.v4, METRICS_PORT).into(),
            pin,
        };
        Ok((relay, target))
    }

    /// A folder that lasts as long as the scene.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The strangers' IPv4 address of that number.
pub fn stranger_v4(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 78, high, low)
}

/// A stranger's IPv6 address in the subnet (/64) of that number, all of one /48.
pub fn stranger_v6(subnet: u16) -> IpAddr {
    Ipv6Addr::new(0xfd78, 0, 0, subnet, 0, 0, 0, 1).into()
}

fn ip(host: &Host, arguments: &[&str]) -> Result<()> {
    let output =
        host.namespace.command("ip").args(arguments).output().context("cannot start ip")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), reason.trim());
    Ok(())
}
