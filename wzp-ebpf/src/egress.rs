//! Frames on their way out: TCX, behind all other programs, so that what they
//! drop is not counted.

use aya_ebpf::bindings::tcx_action_base::TCX_NEXT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::{debug, trace};
use wzp_common::frame::Datagram;
use wzp_common::reason::{Direction, Reason};

use crate::account::{count, count_reason, key};
use crate::packet::{Packet, any, plain};

/// Never drops.
#[classifier]
pub fn wzp_tcx_egress(context: TcContext) -> i32 {
    match plain(&context, Direction::Tx) {
        Err(Reason::Short) => unusual(context),
        datagram => account(&context, datagram),
    }
    TCX_NEXT
}

/// As on the way in.
#[inline(never)]
fn unusual<P: Packet>(packet: P) {
    account(&packet, any(&packet, Direction::Tx));
}

#[inline(always)]
fn account<P: Packet>(packet: &P, datagram: Result<Datagram, Reason>) {
    match datagram {
        Ok(datagram) => {
            let slot = count(&key(&datagram), Direction::Tx, packet.size(&datagram));
            trace!(packet, "tx counted in slot {}", slot);
        }
        Err(reason) => {
            count_reason(Direction::Tx, reason);
            debug!(packet, "tx not counted, reason {}", reason as u32);
        }
    }
}
