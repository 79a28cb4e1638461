//! What the values of several keys tell together.

use std::net::{IpAddr, SocketAddr};

use super::problem::Complaint;
use super::{Config, EbpfMode, range, values};

impl Config {
    /// All that is wrong, as far as it can be told without asking the system.
    pub(super) fn check(&self) -> Vec<Complaint> {
        let mut found: Vec<_> = range::check(&values::flat(self)).collect();
        found.extend(self.limits.check());
        found.extend(self.auth.check());
        found.extend(self.check_relay());
        found.extend(self.check_listeners());
        found.extend(self.check_tracing());
        found
    }

    fn check_tracing(&self) -> Option<Complaint> {
        let endpoint = &self.tracing.endpoint;
        let scheme = endpoint.split_once("://").map_or("http", |(scheme, _)| scheme);
        if self.tracing.enabled && !scheme.eq_ignore_ascii_case("http") {
            let text = "traces are sent without TLS only: write http:// or host and port, for \
                        example of a collector on this machine, which can send them on with TLS";
            return Some(Complaint::new(["tracing.endpoint"], text));
        }
        let after_scheme = endpoint.split_once("://").map_or(&**endpoint, |(_, rest)| rest);
        let authority = after_scheme.split(['/', '?', '#']).next();
        let is_user = authority.is_some_and(|authority| authority.contains('@'));
        (is_user || endpoint.contains(['?', '#'])).then(|| {
            // Not shown: it has a secret in it.
            let text =
                "a name, a password and a query in it would not be sent; write host and port";
            Complaint::new(["tracing.endpoint"], text)
        })
    }

    fn check_relay(&self) -> impl Iterator<Item = Complaint> {
        let lone = self.relay.cert.is_some() != self.relay.key.is_some();
        let homeless = self.relay.state_dir.as_os_str().is_empty();
        let nowhere = self.ebpf.mode == EbpfMode::Require && self.ebpf.interfaces.is_empty();
        [
            lone.then(|| {
                Complaint::new(
                    ["relay.cert", "relay.key"],
                    "a certificate needs its key and a key its certificate; give both",
                )
            }),
            homeless.then(|| {
                Complaint::new(
                    ["relay.state_dir"],
                    "there is no HOME to keep state in; choose a directory",
                )
            }),
            nowhere.then(|| {
                Complaint::new(
                    ["ebpf.mode", "ebpf.interfaces"],
                    "\"require\" needs at least one interface; name it with --interface",
                )
            }),
        ]
        .into_iter()
        .flatten()
    }

    fn check_listeners(&self) -> impl Iterator<Item = Complaint> {
        let (metrics, health) = (&self.metrics, &self.health);
        let both = metrics.enabled && health.enabled;
        let fight = both && overlap(metrics.listen_addr, health.listen_addr);
        let taken = ["/health", "/ready"].contains(&&*metrics.path);
        let relative = |key, path: &str| {
            (!path.starts_with('/'))
                .then(|| Complaint::new([key], format!("{path:?} does not begin with a slash")))
        };
        [
            fight.then(|| {
                Complaint::new(
                    ["health.listen_addr", "metrics.listen_addr"],
                    format!(
                        "{} and {} cannot both be listened on; choose another port, or \
                         health.enabled = false: the metrics listener answers /health too",
                        health.listen_addr, metrics.listen_addr
                    ),
                )
            }),
            taken.then(|| {
                Complaint::new(
                    ["metrics.path"],
                    format!("{} is where health is told; choose another path", metrics.path),
                )
            }),
            (health.path == "/ready").then(|| {
                Complaint::new(
                    ["health.path"],
                    "/ready is where readiness is told; choose another path",
                )
            }),
            relative("metrics.path", &metrics.path),
            relative("health.path", &health.path),
        ]
        .into_iter()
        .flatten()
    }
}

/// Whether the system gives only one of them. Port 0 is another one each time.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: IpAddr, ip: IpAddr| {
        all == ip || (all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4()))
    };
    one.port() != 0
        && one.port() == other.port()
        && (takes(one.ip(), other.ip()) || takes(other.ip(), one.ip()))
}
