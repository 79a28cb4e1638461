//! Programs that do nothing: what every program costs, which the benchmark
//! subtracts.

#![no_std]
#![no_main]

use aya_ebpf::bindings::{tcx_action_base, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Passes.
#[xdp(frags)]
pub fn empty_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Passes.
#[classifier]
pub fn empty_tcx(_: TcContext) -> i32 {
    tcx_action_base::TCX_NEXT
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
