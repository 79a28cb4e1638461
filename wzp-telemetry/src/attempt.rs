//! Work that may fail by a mistake without ending its thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does a piece of a thread's work, which is left undone where it panics. Whether it
/// was done.
pub fn attempt(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}
