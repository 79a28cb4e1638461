//! The system's allocator, which counts what is asked of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::{AddAssign, Sub};

/// Counts while [`during`] runs, on its thread.
pub struct Counting;

/// What was asked of the allocator. A block that grows is one more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Blocks asked for.
    pub allocations: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes given back.
    pub freed: u64,
}

thread_local! {
    static TALLY: Cell<Option<Tally>> = const { Cell::new(None) };
}

/// Runs `act` and adds to `tally` what it allocated.
pub fn during<T>(tally: &mut Tally, act: impl FnOnce() -> T) -> T {
    TALLY.set(Some(Tally::default()));
    let result = act();
    *tally += TALLY.take().unwrap_or_default();
    result
}

fn note(size: usize) {
    let counted = TALLY.get().map(|tally| Tally {
        allocations: tally.allocations + 1,
        bytes: tally.bytes + size as u64,
        ..tally
    });
    TALLY.set(counted);
}

fn note_freed(size: usize) {
    let counted = TALLY.get().map(|tally| Tally { freed: tally.freed + size as u64, ..tally });
    TALLY.set(counted);
}

// SAFETY: every call is passed on to the system's allocator as it came. `note`
// touches a thread-local that is initialised at compile time and has no
// destructor, so it allocates nothing and is there for as long as the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those that the system's asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        note_freed(layout.size());
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note_freed(layout.size());
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.allocations += more.allocations;
        self.bytes += more.bytes;
        self.freed += more.freed;
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            bytes: self.bytes - before.bytes,
            freed: self.freed - before.freed,
        }
    }
}
