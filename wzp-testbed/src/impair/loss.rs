//! UDP packets that vanish inside a namespace, in the kernel, at random or by
//! number.
//!
//! They are dropped where they come in, never where they go out: a filter on
//! the way out returns an error to the sender, which no real network does.

use std::io::Write;
use std::net::IpAddr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;

/// Drops `permille` of the UDP packets that come in, of all or of those from
/// one address, for as long as the namespace exists. A second call adds a
/// second rule.
///
/// # Errors
/// nftables is missing, or the kernel has no random numbers for it.
pub fn incoming(namespace: &Namespace, permille: u16, from: Option<IpAddr>) -> Result<()> {
    let source = from.map_or_else(String::new, source);
    let drop = format!("{source} meta l4proto udp numgen random mod 1000 < {permille} drop");
    add(namespace, &drop)
}

/// Drops exactly every `nth` packet that carries voice from one address: those
/// that are longer than an acknowledgement and shorter than a handshake's.
///
/// # Errors
/// nftables is missing.
pub fn every_nth_voice(namespace: &Namespace, nth: u16, from: IpAddr) -> Result<()> {
    let source = source(from);
    add(namespace, &format!("{source} udp length 90-1000 numgen inc mod {nth} 0 drop"))
}

fn source(from: IpAddr) -> String {
    match from {
        IpAddr::V4(address) => format!("ip saddr {address}"),
        IpAddr::V6(address) => format!("ip6 saddr {address}"),
    }
}

fn add(namespace: &Namespace, rule: &str) -> Result<()> {
    let hook = "type filter hook input priority 0;";
    nft(namespace, &format!("table inet wzp {{ chain in {{ {hook}\n{rule}\n}}\n}}\n"))
}

fn nft(namespace: &Namespace, rules: &str) -> Result<()> {
    let mut child = namespace
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    child.stdin.take().context("stdin is piped")?.write_all(rules.as_bytes())?;
    let output = child.wait_with_output()?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft (Debian: nftables): {}", reason.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::netns::{Family, Network};
    use crate::skip;

    #[test]
    fn share_and_direction_are_as_asked() {
        const SENT: usize = 4000;
        if !skip::have_namespaces("share_and_direction_are_as_asked") {
            return;
        }
        let network = Network::new(&["a", "b"]).unwrap();
        let [a, b] = network.hosts() else { panic!("two hosts") };
        incoming(&b.namespace, 100, Some(a.v4.into())).unwrap();
        let cases =
            [(a, b, Family::V4, 300..=500), (a, b, Family::V6, 0..=0), (b, a, Family::V4, 0..=0)];
        for (from, to, family, lost) in cases {
            let receiver = to.namespace.run(|| UdpSocket::bind((to.address(family), 0)).unwrap());
            receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let sender = from.namespace.run(|| UdpSocket::bind((from.address(family), 0)).unwrap());
            let target = receiver.local_addr().unwrap();
            let mut received = 0;
            for _ in 0..SENT / 100 {
                (0..100).for_each(|_| assert_eq!(sender.send_to(b"x", target).unwrap(), 1));
                // Emptied as we go: a full socket buffer would look like loss.
                receiver.set_nonblocking(true).unwrap();
                while receiver.recv(&mut [0; 8]).is_ok() {
                    received += 1;
                }
                receiver.set_nonblocking(false).unwrap();
            }
            while receiver.recv(&mut [0; 8]).is_ok() {
                received += 1;
            }
            assert!(lost.contains(&(SENT - received)), "{family:?}: {received} of {SENT}");
        }
    }
}
