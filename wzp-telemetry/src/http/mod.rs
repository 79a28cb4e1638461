//! Metrics and health over HTTP: listeners, pages, and who may see them.

mod basic;
mod bind;
pub(crate) mod compress;
mod front;
mod logins;
mod pace;
mod places;
mod serve;
mod site;
#[cfg(test)]
mod testing;
mod tls;
pub(crate) mod traffic;
mod web_config;

pub use bind::{ListenError, Purpose, bind, without_ipv6};
pub use places::{Lost, Place, Places, Share};
pub use serve::Listening;
pub use site::{Program, Site};
pub use traffic::{Abort, Open, Traffic};
pub use web_config::{WebConfig, WebConfigError};
