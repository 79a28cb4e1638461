//! What a relay opens to the network without protection, and the keys that close it.

use std::net::SocketAddr;

use wzp_telemetry::http::WebConfig;

use super::problem::{Complaint, Origin};
use super::{AuthMode, Config, Loaded};

impl Loaded {
    /// All of it in one sentence for the log; `None`: nothing is open that nobody has said
    /// should be.
    pub fn exposure(&self) -> Option<String> {
        let open: Vec<_> = self
            .open()
            .into_iter()
            .map(|Complaint { keys, text, .. }| format!("{text} ({})", keys.join(", ")))
            .collect();
        (!open.is_empty())
            .then(|| format!("open to the network without protection: {}", open.join("; ")))
    }

    /// The same one by one.
    pub(crate) fn open(&self) -> Vec<Complaint> {
        let unsaid = self.origin("auth.mode") == Origin::Default;
        [rooms(&self.config, unsaid), metrics(&self.config), health(&self.config)]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn is_public(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// A relay that lets everybody in although nobody has said so.
fn rooms(Config { relay, auth, .. }: &Config, unsaid: bool) -> Option<Complaint> {
    let open = unsaid && auth.mode == AuthMode::None && is_public(relay.listen);
    open.then(|| {
        let text = format!(
            "whoever reaches {} may join any room; set who may, or \"none\" if that is meant",
            relay.listen
        );
        Complaint::new(["auth.mode"], text)
    })
}

fn metrics(Config { metrics, .. }: &Config) -> Option<Complaint> {
    const KEYS: [&str; 2] = ["metrics.web_config", "metrics.listen_addr"];
    if !metrics.enabled || !is_public(metrics.listen_addr) {
        return None;
    }
    let address = metrics.listen_addr;
    let protection = match metrics.web_config.as_deref().map(WebConfig::load) {
        // A file that cannot be used keeps the relay from starting.
        Some(Err(_)) => return None,
        Some(Ok(web)) => Some(web),
        None => None,
    };
    let (asks, has_tls) = protection.map_or((false, false), |web| (web.asks_who(), web.has_tls()));
    let text = match (asks, has_tls) {
        (true, true) => return None,
        (true, false) => format!(
            "passwords for the metrics at {address} can be read on the way; give the listener a \
             certificate"
        ),
        (false, _) => format!(
            "whoever reaches {address} reads the metrics, names of rooms among them; ask for \
             passwords, or listen on 127.0.0.1"
        ),
    };
    Some(Complaint::new(KEYS, text))
}

fn health(Config { health, .. }: &Config) -> Option<Complaint> {
    let open = health.enabled && is_public(health.listen_addr);
    open.then(|| {
        let text = format!(
            "whoever reaches {} reads how the relay is; listen where only probes reach it",
            health.listen_addr
        );
        Complaint::new(["health.listen_addr"], text)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Flags;
    use super::*;

    #[test]
    fn what_is_open_is_told_in_one_sentence_with_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let hash = "$2y$04$tVvWJZ5IrX0R4Zx7TFmHmuZ9bGxkWf4zYx1OWkl1bG7rFmBV0kq5e";
        fs::write(at("users.yml"), format!("basic_auth_users: {{a: '{hash}'}}\n")).unwrap();
        let identity = wzp_transport::identity::Identity::generate().unwrap().1;
        fs::write(at("own.pem"), identity).unwrap();
        let tls = "tls_server_config: {cert_file: own.pem, key_file: own.pem";
        fs::write(at("tls.yml"), format!("{tls}}}\n")).unwrap();
        let both = format!("{tls}}}\nbasic_auth_users: {{a: '{hash}'}}\n");
        fs::write(at("both.yml"), both).unwrap();
        let clients = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: own.pem";
        fs::write(at("clients.yml"), format!("{tls}, {clients}}}\n")).unwrap();
        let metrics = |file: &str| {
            format!(
                "auth.mode = 'none'\nmetrics.listen_addr = '0.0.0.0:9090'\n\
                 metrics.web_config = '{}'\n",
                at(file).display()
            )
        };
        let cases = [
            (String::new(), vec!["[::]:4433 may join any room", "(auth.mode)"]),
            ("auth.mode = 'none'".into(), vec![]),
            ("relay.listen = '127.0.0.1:4433'".into(), vec![]),
            ("relay.listen = '[::ffff:127.0.0.1]:4433'".into(), vec![]),
            (
                "metrics.listen_addr = '[::]:9090'".into(),
                vec!["any room", "; whoever reaches [::]:9090", "metrics.web_config"],
            ),
            ("auth.mode = 'none'\nmetrics.listen_addr = '[::1]:9090'".into(), vec![]),
            (
                "auth.mode = 'none'\nmetrics.enabled = false\n\
                 metrics.listen_addr = '[::]:9090'"
                    .into(),
                vec![],
            ),
            (metrics("users.yml"), vec!["passwords for the metrics at 0.0.0.0:9090"]),
            (metrics("tls.yml"), vec!["whoever reaches 0.0.0.0:9090"]),
            (metrics("both.yml"), vec![]),
            (metrics("clients.yml"), vec![]),
            (
                "auth.mode = 'none'\nhealth.enabled = true\n\
                 health.listen_addr = '192.0.2.1:8080'"
                    .into(),
                vec!["192.0.2.1:8080", "(health.listen_addr)"],
            ),
        ];
        for (text, parts) in cases {
            let path = at("relay.toml");
            fs::write(&path, format!("{text}\n")).unwrap();
            let flags = Flags { config: Some(path), ..Flags::default() };
            let loaded = Loaded::with_environment(&flags, std::iter::empty()).unwrap();
            match loaded.exposure() {
                None => assert!(parts.is_empty(), "{text}"),
                Some(told) => {
                    let all = parts.iter().all(|part| told.contains(part));
                    assert!(all && !parts.is_empty(), "{text}: {told}");
                }
            }
        }
    }
}
