//! Counting.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::mem::transmute;

use wzp_common::flow::{FlowKey, FlowSlot, UNATTRIBUTED};
use wzp_common::frame::Datagram;
use wzp_common::reason::{Direction, Reason, reason_index};
use wzp_common::size::Size;

use crate::maps::{WZP_BLOCK_COUNT, WZP_BLOCKED, WZP_FLOWS, WZP_REASONS, WZP_SLOTS};

/// The flow key of a datagram, in memory.
#[inline(always)]
pub fn key(datagram: &Datagram) -> FlowKey {
    // SAFETY: both are 24 bytes without padding, and any value is valid.
    unsafe { transmute::<[u64; 3], FlowKey>(datagram.key) }
}

/// Counts a frame in the slot of its flow; gives the slot.
#[inline(always)]
pub fn count(key: &FlowKey, direction: Direction, size: Size) -> u32 {
    let slot = match WZP_FLOWS.get_ptr(key) {
        // SAFETY: the kernel gives a pointer to four bytes that stay readable
        // while the program runs. The relay may give the entry to another flow
        // meanwhile; then this frame counts there.
        Some(slot) => unsafe { *slot },
        None => UNATTRIBUTED,
    };
    if let Some(counters) = WZP_SLOTS.get_ptr_mut(slot) {
        match direction {
            Direction::Rx => add(rx(counters), size),
            Direction::Tx => add(tx(counters), size),
        }
    }
    slot
}

/// Counts a frame that is in no slot.
#[inline(always)]
pub fn count_reason(direction: Direction, reason: Reason) {
    if let Some(counter) = WZP_REASONS.get_ptr_mut(reason_index(direction, reason)) {
        // SAFETY: the kernel gives a pointer to this processor's eight bytes,
        // and no other program runs here before this one has ended.
        unsafe { *counter += 1 };
    }
}

/// Whether frames from this address are to be dropped.
#[inline(always)]
pub fn is_blocked(key: &FlowKey) -> bool {
    let some = match WZP_BLOCK_COUNT.get_ptr(0) {
        // SAFETY: the kernel gives a pointer to four bytes; the relay replaces
        // them as a whole.
        Some(count) => unsafe { count.read_volatile() != 0 },
        None => false,
    };
    some && WZP_BLOCKED.get_ptr(&key.remote_ip).is_some()
}

#[inline(always)]
fn rx(slot: *mut FlowSlot) -> [*mut u64; 2] {
    // SAFETY: the pointer is to a slot of the map; the fields are inside it.
    unsafe { [&raw mut (*slot).rx_packets, &raw mut (*slot).rx_bytes] }
}

#[inline(always)]
fn tx(slot: *mut FlowSlot) -> [*mut u64; 2] {
    // SAFETY: as above.
    unsafe { [&raw mut (*slot).tx_packets, &raw mut (*slot).tx_bytes] }
}

/// Atomic: with two processors, plain adds lose two percent.
#[inline(always)]
fn add([packets, bytes]: [*mut u64; 2], size: Size) {
    // SAFETY: both pointers are to aligned counters of a slot; all who write
    // there do so atomically.
    unsafe {
        atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(packets, size.packets);
        atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(bytes, size.bytes);
    }
}
