//! Opening the listeners.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use thiserror::Error;
use tokio::net::TcpListener;

/// What a listener is for and how its address is chosen, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// What it serves: "metrics".
    pub serves: &'static str,
    /// How an operator chooses another address: "metrics.listen_addr or
    /// --metrics-port".
    pub chosen_with: &'static str,
}

/// Why there is no listener.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error(
        "cannot serve {} on TCP {address}: the port is in use{}; choose another one with {}",
        purpose.serves, others(*address), purpose.chosen_with
    )]
    InUse {
        /// The address wanted.
        address: SocketAddr,
        /// What the listener is for.
        purpose: Purpose,
    },
    /// Anything else.
    #[error(
        "cannot serve {} on TCP {address}: {reason}; the address is chosen with {}",
        purpose.serves, purpose.chosen_with
    )]
    Other {
        /// The address wanted.
        address: SocketAddr,
        /// What the listener is for.
        purpose: Purpose,
        /// What the system said.
        reason: io::Error,
    },
}

/// Who it usually is that has the port.
fn others(address: SocketAddr) -> &'static str {
    match address.port() {
        8080 => " (8080 is what many web servers take)",
        9090 => " (9090 is also Prometheus' own default)",
        _ => "",
    }
}

/// Opens a listener. `[::]` falls back to `0.0.0.0` on hosts without IPv6.
///
/// # Errors
/// [`ListenError`] with the address.
pub async fn bind(address: SocketAddr, purpose: Purpose) -> Result<TcpListener, ListenError> {
    let result = match TcpListener::bind(address).await {
        Err(error) => match without_ipv6(address, &error) {
            Some(instead) => TcpListener::bind(instead).await,
            None => Err(error),
        },
        bound => bound,
    };
    result.map_err(|reason| match reason.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address, purpose },
        _ => ListenError::Other { address, purpose, reason },
    })
}

/// What to listen on instead of `[::]` on a host without IPv6.
pub fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let any = address.is_ipv6() && address.ip().is_unspecified();
    (any && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()))
        .then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: Purpose =
        Purpose { serves: "metrics", chosen_with: "metrics.listen_addr or --metrics-port" };

    #[tokio::test]
    async fn a_taken_port_is_named_with_what_to_change() {
        let first = bind("127.0.0.1:0".parse().unwrap(), PURPOSE).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, PURPOSE).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "cannot serve metrics on TCP {address}: the port is in use; \
                 choose another one with metrics.listen_addr or --metrics-port"
            )
        );
    }

    #[test]
    fn well_known_ports_name_who_has_them() {
        for (port, name) in [(9090, "Prometheus"), (8080, "web servers")] {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let message = ListenError::InUse { address, purpose: PURPOSE }.to_string();
            assert!(message.contains(name) && message.contains(&port.to_string()), "{message}");
        }
    }

    #[tokio::test]
    async fn an_address_of_another_host_is_refused_with_the_key() {
        // TEST-NET-1 of RFC 5737.
        let error = bind("192.0.2.1:0".parse().unwrap(), PURPOSE).await.unwrap_err().to_string();
        assert!(error.contains("192.0.2.1") && error.contains("metrics.listen_addr"), "{error}");
    }
}
