//! Everything the programs share with the relay.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use wzp_common::flow::{FlowKey, FlowSlot};
use wzp_common::reason::REASON_COUNTERS;

/// The relay's UDP port, in network order. Written before the programs are
/// loaded and frozen then: the verifier knows it as a constant.
#[unsafe(no_mangle)]
pub static WZP_PORT: Global<u16> = Global::new(0);

/// The slot of each flow. Written by the relay alone: nothing is ever inserted
/// or evicted because of a packet, so a flood of false addresses changes
/// nothing here. Preallocated; the relay sets the size when it loads, two keys
/// to a slot.
#[btf_map]
pub static WZP_FLOWS: HashMap<FlowKey, u32, 2> = HashMap::new();

/// The counters of each flow. Slot 0 is for frames with the relay's port whose
/// flow is not known. The relay maps this memory and reads it without asking
/// the kernel; it never writes to it. The relay sets the size when it loads.
#[btf_map]
pub static WZP_SLOTS: Array<FlowSlot, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Frames that are in no slot, by direction and reason, counted on each
/// processor for itself: most frames of a machine may end here.
#[btf_map]
pub static WZP_REASONS: PerCpuArray<u64, { REASON_COUNTERS as usize }> = PerCpuArray::new();

/// Blocked source addresses, as in a flow key; the value means nothing.
#[btf_map]
pub static WZP_BLOCKED: HashMap<[u16; 8], u8, MAX_BLOCKED> = HashMap::new();

/// The number of entries of the blocklist. A look at this costs a nanosecond, a
/// look into the list five to ten.
#[btf_map]
pub static WZP_BLOCK_COUNT: Array<u32, 1> = Array::new();

/// The most addresses that can be blocked.
const MAX_BLOCKED: usize = 16_384;
