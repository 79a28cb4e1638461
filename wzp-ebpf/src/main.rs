//! The kernel programs: they count each frame of the relay in the slot of its
//! flow, and drop those from blocked addresses. No clock, no event, no insert;
//! all other traffic passes as if they were not there.
//!
//! A frame's way: [`ingress`] or [`egress`] makes a verdict; [`packet`] gives
//! the parser its bytes; [`account`] counts; [`maps`] is what the relay shares.

#![no_std]
#![no_main]
// Atomic adds without a result: the stable atomics ask for the old value, which
// the kernel's instruction set gives only for other orderings.
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod account;
mod egress;
mod ingress;
mod maps;
mod packet;

/// Helpers that the programs call are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No function that panics survives optimisation: the verifier would refuse
    // the loop.
    loop {}
}
