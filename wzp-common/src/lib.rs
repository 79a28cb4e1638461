//! The contract between the kernel programs and the relay.
//!
//! * [`flow`]: what a flow is called and where its counters are
//! * [`frame`]: from an Ethernet frame to the flow it belongs to
//! * [`reason`]: why a frame is in no flow
//! * [`size`]: what a frame counts for
//! * [`steering`]: from a QUIC packet to the shard it belongs to
//!
//! The kernel programs, the relay, the tests and the fuzzer use the same code.
//! Nothing here allocates, panics, loops without bound or contains `unsafe`.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "builder")]
pub mod builder;
pub mod flow;
pub mod frame;
pub mod reason;
pub mod size;
pub mod steering;
