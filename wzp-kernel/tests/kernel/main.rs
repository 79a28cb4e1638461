//! The programs in the kernel. What needs root says so and is skipped without;
//! with `CI=true` it fails.
//!
//! * `slots`: the state machine of the slots, without a kernel
//! * `object`: what was built, without a kernel
//! * `verdict`: the programs, frame by frame
//! * `network`: the programs on interfaces, with real sockets
//! * `interfaces`: which interfaces they are on, and the limits of their tables
//! * `steering`: the program that chooses a socket
//! * `process`: privileges, and what is left of a killed process

#![allow(clippy::unwrap_used)]

mod harness;
mod interfaces;
mod network;
mod object;
mod process;
mod scene;
mod slots;
mod steering;
mod verdict;
