//! What the values of several keys tell together.

use std::net::{IpAddr, SocketAddr};

use wzp_untrusted::text;

use super::limits;
use super::problem::Complaint;
use super::url::{Url, UrlError};
use super::{Config, EbpfMode, bounds, values};

impl Config {
    /// All that is wrong, as far as it can be told without asking the system.
    pub(crate) fn check(&self) -> Vec<Complaint> {
        let mut found: Vec<_> = bounds::check(&values::flat(self)).collect();
        found.extend(limits::check(&self.limits));
        found.extend(self.auth.check());
        found.extend(self.check_relay());
        found.extend(self.check_listeners());
        found.extend(self.check_tracing());
        found
    }

    fn check_tracing(&self) -> Option<Complaint> {
        let endpoint = &self.tracing.endpoint;
        let scheme = endpoint.split_once("://").map_or("http", |(scheme, _)| scheme);
        let is_known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if self.tracing.enabled && !is_known {
            let text = "traces are sent by http:// or, with TLS, https://; without either, write \
                        host and port";
            return Some(Complaint::new(["tracing.endpoint"], text));
        }
        let after_scheme = endpoint.split_once("://").map_or(&**endpoint, |(_, rest)| rest);
        let authority = after_scheme.split(['/', '?', '#']).next();
        let is_user = authority.is_some_and(|authority| authority.contains('@'));
        if is_user || endpoint.contains(['?', '#']) {
            // Not shown: it has a secret in it.
            let text =
                "a name, a password and a query in it would not be sent; write host and port";
            return Some(Complaint::new(["tracing.endpoint"], text));
        }
        let error = format!("http://{after_scheme}").parse::<Url>().err();
        let error = error.filter(|error| *error == UrlError::Port)?;
        Some(Complaint::new(["tracing.endpoint"], error.to_string()))
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
            unreachable("metrics.path", &metrics.path),
            unreachable("health.path", &health.path),
        ]
        .into_iter()
        .flatten()
    }
}

/// Why nobody could ask for a path (RFC 3986 section 3.3).
fn unreachable(key: &'static str, path: &str) -> Option<Complaint> {
    let is_sent = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@%".contains(c);
    let is_code = |after: &str| {
        after.get(..2).is_some_and(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let path_shown = text::line(path);
    let text = if !path.starts_with('/') {
        format!("\"{path_shown}\" does not begin with a slash")
    } else if let Some(c) = path.chars().find(|c| !is_sent(*c)) {
        let c = c.to_string();
        format!(
            "no request has the path \"{path_shown}\": a client does not send \"{}\" as it \
             stands; write letters, digits, - and _",
            text::line(&c)
        )
    } else if !path.split('%').skip(1).all(is_code) {
        format!("in \"{path_shown}\", two hexadecimal digits have to follow each %")
    } else if path.split('/').any(|part| [".", ".."].contains(&part)) {
        format!("no request has the path \"{path_shown}\": clients leave out . and ..")
    } else {
        return None;
    };
    Some(Complaint::new([key], text))
}

/// Whether the system gives only one of them. Port 0 is another one each time.
pub(crate) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: IpAddr, ip: IpAddr| {
        all == ip || (all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4()))
    };
    // [::ffff:10.0.0.1] is 10.0.0.1.
    let ips = [one.ip().to_canonical(), other.ip().to_canonical()];
    one.port() != 0
        && one.port() == other.port()
        && (takes(ips[0], ips[1]) || takes(ips[1], ips[0]))
}
