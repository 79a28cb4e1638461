//! `host:port` as users write it: names, IPv4, IPv6 with or without brackets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;
use wzp_proto::DEFAULT_PORT;

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

/// A host that could not be turned into an address.
#[derive(Debug, Error)]
#[error("cannot find the address of '{host}': {source}; check the name and this machine's DNS")]
pub struct ResolveError {
    host: String,
    source: std::io::Error,
}

impl FromStr for RelayAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: DEFAULT_PORT });
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
    /// All addresses of the host, in the resolver's order. Never empty.
    ///
    /// # Errors
    /// The host has no address or the resolver failed.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        let fail = |source| ResolveError { host: self.host.clone(), source };
        let found: Vec<_> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(fail)?.collect();
        if found.is_empty() {
            return Err(fail(std::io::Error::other("it has no address")));
        }
        Ok(found)
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
