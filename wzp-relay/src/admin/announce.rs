//! What a relay that is ready tells whoever started it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use wzp_kernel::addresses::addresses;
use wzp_transport::fingerprint::Fingerprint;
use wzp_transport::identity::Identity;

use crate::output::Output;

/// A fact a line.
///
/// # Errors
/// Standard output does not take it.
pub(super) fn announce(
    listening: SocketAddr,
    pages: &[(&str, String)],
    identity: &Identity,
    needs_token: bool,
) -> Result<()> {
    let text = announcement(listening, pages, &identity.fingerprint(), needs_token);
    let mut out = Output::new();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("nobody can be told where the relay listens, and with which fingerprint")
}

fn announcement(
    listening: SocketAddr,
    pages: &[(&str, String)],
    fingerprint: &Fingerprint,
    needs_token: bool,
) -> String {
    let mut text = format!("listening on {listening}\nfingerprint {fingerprint}\n");
    for (name, url) in pages {
        text += &format!("{name} on {url}\n");
    }
    let (with, token) = match needs_token {
        true => (", with a token of yours in the file `token`", "--token-file token "),
        false => (" with", ""),
    };
    text += &format!(
        "join from this machine{with}:\n\
         wzp-client --pin {fingerprint} {token}--room lobby --send-tone 10 {}\n",
        near(listening)
    );
    text
}

/// Where a client of this host reaches what listens there.
fn near(listening: SocketAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    // A link's own address is none without the link's name.
    let own = addresses().unwrap_or_default().into_iter().map(|address| address.ip);
    let own = own.filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    let candidates = loopback.into_iter().chain(own);
    let mut candidates = candidates.filter(|ip| ip.is_ipv4() || listening.is_ipv6());
    let is_here = |ip: &IpAddr| UdpSocket::bind((*ip, 0)).is_ok();
    let found = candidates.find(is_here).unwrap_or(loopback[0]);
    SocketAddr::new(found, listening.port())
}

#[cfg(test)]
mod tests {
    use wzp_testbed::netns::{Namespace, cable};
    use wzp_testbed::skip;

    use super::*;

    #[test]
    fn who_needs_a_token_is_told_where_to_give_it() {
        let pin = "ab".repeat(32);
        let told = |needs_token| {
            let listening = "192.0.2.1:4433".parse().unwrap();
            announcement(listening, &[], &pin.parse().unwrap(), needs_token)
        };
        let without = "join from this machine with:\nwzp-client --pin PIN --room lobby";
        assert!(told(false).contains(&without.replace("PIN", &pin)), "{}", told(false));
        let with = "join from this machine, with a token of yours in the file `token`:\n\
                    wzp-client --pin PIN --token-file token --room lobby";
        assert!(told(true).contains(&with.replace("PIN", &pin)), "{}", told(true));
    }

    #[test]
    fn clients_are_sent_where_this_host_is() {
        if !skip::have_namespaces("clients_are_sent_where_this_host_is") {
            return;
        }
        let [host, other] = ["host", "other"].map(|name| Namespace::new(name).unwrap());
        cable([&host, &other], "eth0", 1).unwrap();
        let near = |listening: &str| host.run(|| near(listening.parse().unwrap()).to_string());
        let steps = [
            ("", ["127.0.0.1:4433", "127.0.0.1:4433"]),
            ("address delete 127.0.0.1/8 dev lo", ["10.78.1.1:4433", "[::1]:4433"]),
            ("address delete ::1/128 dev lo", ["10.78.1.1:4433", "10.78.1.1:4433"]),
        ];
        for (command, [v4, any]) in steps {
            if !command.is_empty() {
                host.ip(&command.split(' ').collect::<Vec<_>>()).unwrap();
            }
            assert_eq!(near("0.0.0.0:4433"), v4, "{command}");
            assert_eq!(near("[::]:4433"), any, "{command}");
            assert_eq!(near("192.0.2.1:4433"), "192.0.2.1:4433");
        }
    }
}
