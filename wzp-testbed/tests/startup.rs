//! What a relay says when it starts is so: each URL answers, and what is open to the
//! network is told once, with the keys that close it.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use wzp_testbed::process::Process;
use wzp_testbed::relay::{PATIENCE, temporary_state};
use wzp_testbed::{binaries, http};
use wzp_transport::identity::Identity;

/// A relay, and what it printed until it was ready.
struct Started {
    process: Process,
    lines: Vec<String>,
    folder: TempDir,
}

fn start(arguments: &[&str], settings: &str) -> Started {
    let folder = temporary_state().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("own.pem"), Identity::generate().unwrap().1).unwrap();
    let web = "tls_server_config: {cert_file: own.pem, key_file: own.pem}\n";
    fs::write(at("web.yml"), web).unwrap();
    let settings = settings.replace("FOLDER", folder.path().to_str().unwrap());
    fs::write(at("relay.toml"), settings).unwrap();
    let mut command = Command::new(binaries::relay());
    command.arg("--config").arg(at("relay.toml")).arg("--state-dir").arg(at("state"));
    command.args(arguments).env_remove("RUST_LOG");
    let process = Process::start("wzp-relay", command).unwrap();
    let (deadline, mut lines) = (Instant::now() + PATIENCE, Vec::new());
    while !lines.last().is_some_and(|line: &String| line.starts_with("wzp-client ")) {
        let line = process.next_line(deadline).unwrap();
        lines.push(line.unwrap_or_else(|| panic!("it ended: {}", process.stderr())));
    }
    Started { process, lines, folder }
}

impl Started {
    /// The URL of a page: its scheme, address and path.
    fn page(&self, name: &str) -> Option<(String, String, String)> {
        let prefix = format!("{name} on ");
        let url = self.lines.iter().find_map(|line| line.strip_prefix(&prefix))?;
        let (scheme, rest) = url.split_once("://").unwrap();
        let (address, path) = rest.split_at(rest.find('/').unwrap());
        Some((scheme.into(), address.into(), path.into()))
    }

    /// Ends it; how often it told what is open, and in which words.
    fn warnings(mut self) -> Vec<String> {
        self.process.terminate().unwrap();
        assert!(self.process.wait(PATIENCE).unwrap().success());
        let log = self.process.stderr();
        let open = log.lines().filter(|line| line.contains("open to the network"));
        open.map(str::to_owned).collect()
    }
}

#[test]
fn pages_are_where_they_are_said_to_be() {
    let port = ["--listen", "127.0.0.1:0", "--metrics-port", "0"];
    let cases: [(&[&str], &str, [&str; 3]); 4] = [
        (&port, "", ["http", "[::]:", "/metrics"]),
        (&port, "metrics.path = '/numbers'", ["http", "[::]:", "/numbers"]),
        (&port[..2], "metrics.listen_addr = '127.0.0.1:0'", ["http", "127.0.0.1:", "/metrics"]),
        (
            &port[..2],
            "metrics.listen_addr = '127.0.0.1:0'\nmetrics.web_config = 'FOLDER/web.yml'",
            ["https", "127.0.0.1:", "/metrics"],
        ),
    ];
    for (arguments, settings, [scheme, address, path]) in cases {
        let relay = start(arguments, settings);
        let page = relay.page("metrics").unwrap();
        assert_eq!((page.0.as_str(), page.2.as_str()), (scheme, path), "{settings}");
        let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
        if has_ipv6 || !address.starts_with('[') {
            assert!(page.1.starts_with(address) && !page.1.ends_with(":0"), "{page:?}");
        }
        if scheme == "http" {
            let answer = http::get(page.1.parse().unwrap(), &page.2).unwrap();
            assert_eq!(answer.status, 200, "{page:?}");
            assert!(answer.body.contains("wzp_relay_build_info"));
        } else {
            assert!(http::get(page.1.parse().unwrap(), &page.2).is_err(), "it speaks TLS alone");
        }
        assert_eq!(relay.page("health"), None);
    }
    let health = "health.enabled = true\nhealth.listen_addr = '127.0.0.1:0'\n\
                  health.path = '/how'\nmetrics.enabled = false";
    let relay = start(&port[..2], health);
    assert_eq!(relay.page("metrics"), None);
    let (scheme, address, path) = relay.page("health").unwrap();
    assert_eq!((scheme.as_str(), path.as_str()), ("http", "/how"));
    assert_eq!(http::get(address.parse().unwrap(), &path).unwrap().status, 200);
    drop(relay.folder);
}

#[test]
fn what_is_open_to_the_network_is_told_once() {
    let open = ["--listen", "0.0.0.0:0", "--metrics-port", "0"];
    let told = start(&open, "").warnings();
    let [line] = &told[..] else { panic!("{told:?}") };
    for part in
        ["WARN", "may join any room", "(auth.mode)", "reads the metrics", "metrics.web_config"]
    {
        assert!(line.contains(part), "no {part:?}: {line}");
    }
    let closed = ["--listen", "127.0.0.1:0"];
    let near = "metrics.listen_addr = '127.0.0.1:0'";
    assert_eq!(start(&closed, near).warnings(), [""; 0]);
}
