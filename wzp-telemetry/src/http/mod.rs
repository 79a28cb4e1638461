//! Metrics and health over HTTP: listeners, pages, and who may see them.

mod basic;
mod bind;
mod compress;
mod front;
mod logins;
mod pace;
mod places;
mod serve;
mod server_fields;
mod site;
#[cfg(test)]
mod testing;
mod tls;
mod web_config;

pub use bind::{ListenError, Purpose, bind, without_ipv6};
pub use front::Program;
pub use places::{Lost, Place, Places, Share};
pub use serve::Listening;
pub use site::Site;
pub use web_config::{WebConfig, WebConfigError};
