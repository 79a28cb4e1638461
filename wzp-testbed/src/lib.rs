//! What the tests need around the programs under test: networks, processes and
//! ears. `cargo xtask run` uses networks and processes too.
//!
//! * [`netns`]: private networks between namespaces of this machine
//! * [`impair`]: loss, delay, reordering and duplication on those networks
//! * [`binaries`], [`relay`], [`client`], [`python`]: the programs under test
//! * [`loopback`]: a relay for tests that need no network of their own
//! * [`http`], [`metrics`]: what the relay tells its operator
//! * [`speech`], [`measure`], [`tone`]: what was said and what arrived
//! * [`bound`]: children that end with the program that started them
//! * [`realtime`]: scheduling for what is judged in real time
//! * [`skip`]: what a machine must have for a test to mean something
//!
//! It never touches the machine's own network interfaces, and it trusts the
//! programs only with deadlines: every wait here is bounded.

pub mod binaries;
pub mod bound;
pub mod client;
pub mod http;
pub mod impair;
pub mod loopback;
pub mod measure;
pub mod metrics;
pub mod netns;
pub mod process;
pub mod python;
pub mod realtime;
pub mod relay;
pub mod service;
pub mod skip;
pub mod speech;
pub mod tone;
