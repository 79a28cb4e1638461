//! What the commands of `wzp-client` have in common: a call, and the load generator
//! (`wzp-load`). Exit codes, the terminal, signals, and arguments that both take.

pub mod arguments;
pub mod exit;
pub mod signals;
pub mod terminal;

/// What the programs tell relays that they are.
pub const SOFTWARE: &str = concat!("wzp-client ", env!("CARGO_PKG_VERSION"));

/// Rounded: further digits are noise to people and programs alike.
pub fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
