//! The kernel's slots, as plain memory: reading ten thousand takes no more
//! system calls than reading one, which is none.
//!
//! The only unsafe code of the relay's kernel side.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, mem, ptr, slice};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use wzp_common::flow::FlowSlot;

use super::slots::{SlotReader, Totals};

/// One slot. The layout is that of [`FlowSlot`].
#[repr(C, align(64))]
struct SharedSlot {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    _rx_rest: [u64; 6],
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    _tx_rest: [u64; 6],
}

const _: () = assert!(size_of::<SharedSlot>() == size_of::<FlowSlot>());
const _: () = assert!(align_of::<SharedSlot>() == align_of::<FlowSlot>());
const _: () = assert!(mem::offset_of!(SharedSlot, rx_bytes) == mem::offset_of!(FlowSlot, rx_bytes));
const _: () =
    assert!(mem::offset_of!(SharedSlot, tx_packets) == mem::offset_of!(FlowSlot, tx_packets));
const _: () = assert!(mem::offset_of!(SharedSlot, tx_bytes) == mem::offset_of!(FlowSlot, tx_bytes));

/// The memory of an array of slots that the kernel lets others map.
pub(super) struct SlotMemory {
    start: ptr::NonNull<SharedSlot>,
    slots: usize,
}

// SAFETY: the memory belongs to the process, not to a thread, until it is
// unmapped in `drop`; it is only read, and atomically.
unsafe impl Send for SlotMemory {}
// SAFETY: as above.
unsafe impl Sync for SlotMemory {}

impl SlotMemory {
    /// Maps an array of that many slots, for reading.
    ///
    /// # Errors
    /// The map is not such an array, or there is no address space.
    pub(super) fn map(array: impl AsFd, slots: u32) -> io::Result<Self> {
        let slots = slots as usize;
        let length = slots * size_of::<SharedSlot>();
        // SAFETY: the kernel chooses the place, so nothing that exists is
        // overlaid; the length is not zero, or the call fails.
        let start =
            unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, array, 0)? };
        let start = ptr::NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, slots })
    }

    fn slots(&self) -> &[SharedSlot] {
        // SAFETY: `map` got that many slots from the kernel, page-aligned and
        // initialised; they live until `drop`. Others write to the counters
        // atomically and to nothing else.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.slots) }
    }
}

impl Drop for SlotMemory {
    fn drop(&mut self) {
        let length = self.slots * size_of::<SharedSlot>();
        // SAFETY: this is what `map` mapped, and no reference to it is left.
        let result = unsafe { munmap(self.start.as_ptr().cast(), length) };
        debug_assert!(result.is_ok(), "{result:?}");
    }
}

impl SlotReader for SlotMemory {
    fn read(&self, slot: u32) -> Totals {
        let Some(slot) = self.slots().get(slot as usize) else { return Totals::default() };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            rx_packets: load(&slot.rx_packets),
            rx_bytes: load(&slot.rx_bytes),
            tx_packets: load(&slot.tx_packets),
            tx_bytes: load(&slot.tx_bytes),
        }
    }
}
