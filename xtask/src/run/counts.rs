//! What the relay tells about the packets that it forwards, and who has
//! counted them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wzp_testbed::relay::Relay;

use super::{Demo, FORWARDED, ROOM};
use crate::step::quoted;

/// The path as one would type it here.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    quoted(path.strip_prefix(here).unwrap_or(path).as_os_str())
}

/// Who counts the packets that are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    /// The kernel: what is on the wire.
    Kernel,
    /// The relay: what it has given to its connections.
    Relay,
}

impl Counter {
    /// Asks the relay; it decides at its start.
    pub(super) fn of(relay: &Relay<'_>) -> Result<Self> {
        let kernel = [("source", "kernel")];
        let counts = relay.scrape()?.sum("wzp_relay_forwarded_source", &kernel) == Some(1.0);
        Ok(if counts { Self::Kernel } else { Self::Relay })
    }

    /// As what its counts are shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "the kernel",
            Self::Relay => "the relay itself",
        }
    }
}

/// Says where the kernel counts, or why it does not though it was asked to.
pub(super) fn print_counter(relay: &Relay<'_>, counter: Counter, asked: bool) -> Result<()> {
    if counter == Counter::Kernel {
        let scrape = relay.scrape()?;
        let used = scrape.samples.iter().filter(|s| s.name == "wzp_ebpf_hook" && s.value == 1.0);
        let hooks: Vec<_> = used.filter_map(|s| s.labels.get("hook")).map(String::as_str).collect();
        println!("The kernel counts its packets, on eth0 ({}).", hooks.join(", "));
    } else if asked {
        println!("The relay counts by itself, without the list of flows. Its log says why:\n");
        let log = relay.log();
        log.lines().filter(|line| line.contains(" WARN ")).for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// Packets forwarded to members of the room so far.
pub(super) fn forwarded(relay: &Relay<'_>) -> Result<f64> {
    Ok(relay.scrape()?.sum(FORWARDED, &[("room", ROOM)]).unwrap_or(0.0))
}

/// Packets that it dropped so far, of all its members and for all reasons.
pub(super) fn dropped(relay: &Relay<'_>) -> Result<f64> {
    Ok(relay.scrape()?.sum("wzp_relay_packets_dropped_total", &[]).unwrap_or(0.0))
}

/// The relay's own words about what it has forwarded.
pub(super) fn print_forwarded(relay: &Relay<'_>, counter: Counter) -> Result<()> {
    let text = relay.get("/metrics")?.body;
    println!("\nWhat the relay tells, counted by {}:\n", counter.name());
    for line in text.lines().filter(|line| line.starts_with(FORWARDED)) {
        println!("  {line}");
    }
    Ok(())
}

/// The command that shows the flows as the kernel counts them.
pub(super) fn flows(demo: &Demo<'_>, options: &str) -> String {
    format!("{} ctl flows {options}--state-dir {}", shown(&demo.relay), shown(&demo.state()))
}

/// The flows as the kernel counts them, within a second of the talk.
pub(super) fn print_flows(demo: &Demo<'_>) -> Result<()> {
    let line = flows(demo, "--once ");
    let output = Command::new("sh").args(["-c", &line]).output().context("cannot start sh")?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line}: {}\n{problem}", output.status);
    println!("\n{line}:\n");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
