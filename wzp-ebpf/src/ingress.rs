//! Frames on their way in: XDP in the driver, or TCX where the driver cannot.

use aya_ebpf::bindings::{tcx_action_base, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::{debug, trace};
use wzp_common::frame::Datagram;
use wzp_common::reason::{Direction, Reason};

use crate::account::{count, count_reason, is_blocked, key};
use crate::packet::{Packet, any, plain};

/// `frags`: else drivers refuse it on interfaces with an MTU above a page.
#[xdp(frags)]
pub fn wzp_xdp_ingress(context: XdpContext) -> u32 {
    match ingress(context) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// Passes with `TCX_NEXT`: programs behind this one have their say.
#[classifier]
pub fn wzp_tcx_ingress(context: TcContext) -> i32 {
    match ingress(context) {
        Verdict::Pass => tcx_action_base::TCX_NEXT,
        Verdict::Drop => tcx_action_base::TCX_DROP,
    }
}

enum Verdict {
    Pass,
    Drop,
}

#[inline(always)]
fn ingress<P: Packet>(packet: P) -> Verdict {
    match plain(&packet, Direction::Rx) {
        Err(Reason::Short) => unusual(packet),
        datagram => verdict(&packet, datagram),
    }
}

/// Frames that take more than a look at fixed places: a function of its own, so
/// that they do not take registers from the others.
#[inline(never)]
fn unusual<P: Packet>(packet: P) -> Verdict {
    verdict(&packet, any(&packet, Direction::Rx))
}

#[inline(always)]
fn verdict<P: Packet>(packet: &P, datagram: Result<Datagram, Reason>) -> Verdict {
    match counted(packet, datagram) {
        Ok(slot) => {
            trace!(packet, "rx counted in slot {}", slot);
            Verdict::Pass
        }
        Err(reason) => {
            count_reason(Direction::Rx, reason);
            debug!(packet, "rx not counted, reason {}", reason as u32);
            match reason {
                Reason::Blocked => Verdict::Drop,
                Reason::NotIp
                | Reason::NotUdp
                | Reason::OtherPort
                | Reason::Fragment
                | Reason::VlanDepth
                | Reason::ExtHeader
                | Reason::BadHeader
                | Reason::Short => Verdict::Pass,
            }
        }
    }
}

#[inline(always)]
fn counted<P: Packet>(packet: &P, datagram: Result<Datagram, Reason>) -> Result<u32, Reason> {
    let datagram = datagram?;
    let key = key(&datagram);
    if is_blocked(&key) {
        return Err(Reason::Blocked);
    }
    Ok(count(&key, Direction::Rx, packet.size(&datagram)))
}
