//! An interface that takes packets more slowly than they come, and keeps what it
//! has not sent: what a modem, a tunnel or a busy link does.

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;

/// Lets an interface send no more than so many bits a second, and hold up to
/// `held` bytes of packets meanwhile.
///
/// # Errors
/// `tc` is missing, or the kernel has no token bucket (`sch_tbf`).
pub fn outgoing(namespace: &Namespace, interface: &str, bits: u32, held: u32) -> Result<()> {
    let output = namespace
        .command("tc")
        .args(["qdisc", "replace", "dev", interface, "root", "tbf"])
        .args(["rate", &format!("{bits}bit"), "burst", "16000", "limit", &held.to_string()])
        .output()
        .context("cannot start ip")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tc (Debian: iproute2): {}", reason.trim());
    Ok(())
}
