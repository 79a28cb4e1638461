//! A secret goes to whom it is for and nowhere else: whatever is wrong with it or
//! about it, nothing that the programs print, write or serve has it.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod canary;
mod refused;
mod running;
