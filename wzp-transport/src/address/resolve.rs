//! Where on the network a relay is.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::lookup_host;

use super::RelayAddress;

/// A host that could not be turned into an address.
#[derive(Debug, Error)]
#[error("cannot find the address of '{host}': {source}; check the name and this machine's DNS")]
pub struct ResolveError {
    host: String,
    source: io::Error,
}

impl RelayAddress {
    /// All addresses of the host, in the resolver's order. Never empty.
    ///
    /// # Errors
    /// The host has no address or the resolver failed.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        let fail = |source| ResolveError { host: self.host.clone(), source };
        let found: Vec<_> =
            lookup_host((self.host.as_str(), self.port)).await.map_err(fail)?.collect();
        if found.is_empty() {
            return Err(fail(io::Error::other("it has no address")));
        }
        Ok(found)
    }
}
