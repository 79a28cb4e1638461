//! Metrics and health over HTTP: listeners, pages, and who may see them.

mod basic;
mod bind;
mod compress;
mod front;
mod serve;
mod site;
#[cfg(test)]
mod testing;
mod tls;
pub(crate) mod traffic;
mod web_config;

pub use bind::{ListenError, Purpose, bind, without_ipv6};
pub use serve::serve;
pub use site::{Program, Site};
pub use traffic::Traffic;
pub use web_config::{WebConfig, WebConfigError};
