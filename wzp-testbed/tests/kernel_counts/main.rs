//! The relay with the kernel counting, over veth.
//!
//! * `exact`: every flow's packets and bytes against independent counts
//! * `operator`: the operator's commands for flows
//! * `member`: the clients
//! * `truth`, `look`: what nftables counts on their side, and all sides at once
//! * `count`, `table`: packets and bytes

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod count;
mod exact;
#[path = "../frame/mod.rs"]
mod frame;
mod look;
mod member;
mod operator;
mod table;
mod truth;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use wzp_testbed::binaries;
use wzp_testbed::metrics::Scrape;
use wzp_testbed::netns::Host;
use wzp_testbed::relay::{Launch, Relay};

/// A relay whose kernel counts on the host's veth.
fn start_relay<'a>(host: &'a Host, listen: SocketAddr, folder: &Path) -> Relay<'a> {
    // It is to be silent when its clients are.
    let config = folder.join("relay.toml");
    std::fs::write(&config, "[limits]\nping_interval = '1h'\n").unwrap();
    let mut arguments: Vec<_> =
        ["--ebpf", "require", "--interface", "eth0", "--shards", "2", "--config"]
            .map(Into::into)
            .into();
    arguments.push(config.into());
    let launch = Launch { arguments, ..Launch::on(&host.namespace, listen, folder) };
    Relay::start(&launch).unwrap()
}

/// Runs a command of a running relay and gives what it printed.
fn control(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(binaries::relay());
    let output =
        command.arg("ctl").args(arguments).arg("--state-dir").arg(folder.join("state")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> u64 {
    scrape.sum(name, labels).unwrap_or(0.0) as u64
}
