//! `host:port` as users write it: names, IPv4, IPv6 with or without brackets.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;
use wzp_proto::DEFAULT_PORT;

#[cfg(feature = "client")]
mod resolve;

#[cfg(feature = "client")]
pub use resolve::ResolveError;

/// Where a relay is, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// A DNS name or an IP address without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// Text that is not `host`, `host:port`, an IP address or `[v6]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "expected host:port, for example relay.example:{DEFAULT_PORT} or [2001:db8::1]:{DEFAULT_PORT}"
)]
pub struct InvalidAddress;

impl FromStr for RelayAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Ok(SocketAddr::V4(address)) = text.parse() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        if let Some((v6, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            let port = match rest.strip_prefix(':') {
                Some(port) => port.parse().map_err(|_| InvalidAddress)?,
                None if rest.is_empty() => DEFAULT_PORT,
                None => return Err(InvalidAddress),
            };
            return Self::v6(v6, port).ok_or(InvalidAddress);
        }
        if let Some(address) = Self::v6(text, DEFAULT_PORT) {
            return Ok(address);
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| InvalidAddress)?),
            None => (text, DEFAULT_PORT),
        };
        let valid = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || port == 0 || !host.chars().all(valid) {
            return Err(InvalidAddress);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl RelayAddress {
    /// An IPv6 address, with the zone of a link-local one (RFC 4007 section 11).
    fn v6(text: &str, port: u16) -> Option<Self> {
        let (ip, zone) = text.split_once('%').map_or((text, None), |(ip, zone)| (ip, Some(zone)));
        let ip: Ipv6Addr = ip.parse().ok()?;
        let host = match zone {
            Some("") => return None,
            Some(zone) => format!("{ip}%{zone}"),
            None => ip.to_string(),
        };
        (port != 0).then_some(Self { host, port })
    }

    /// The name a certificate is checked for: the host without a zone.
    pub fn name(&self) -> &str {
        self.host.split('%').next().unwrap_or(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_users_write() {
        let cases = [
            ("relay.example:5000", Some("relay.example:5000")),
            ("relay.example", Some("relay.example:4433")),
            ("127.0.0.1:4433", Some("127.0.0.1:4433")),
            ("10.1.2.3", Some("10.1.2.3:4433")),
            ("[2001:db8::1]:99", Some("[2001:db8::1]:99")),
            ("[::1]", Some("[::1]:4433")),
            ("::1", Some("[::1]:4433")),
            ("bücher.example:1", Some("bücher.example:1")),
            ("[fe80::1%eth0]:99", Some("[fe80::1%eth0]:99")),
            ("fe80::1%2", Some("[fe80::1%2]:4433")),
            ("[::1]x", None),
            ("[::1]:0", None),
            ("[fe80::1%]:99", None),
            ("", None),
            (":4433", None),
            ("relay:", None),
            ("relay:0", None),
            ("relay:70000", None),
            ("a b:1", None),
            ("https://relay.example", None),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<RelayAddress>().ok().map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        }
    }
}
