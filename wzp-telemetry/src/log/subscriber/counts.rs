//! What became of the lines.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::suppressed_lines;

/// Added to by whoever logs and by the writer.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) lines: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) dropped_queue: AtomicU64,
    pub(super) dropped_output: AtomicU64,
    pub(super) diverted: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) errors: AtomicU64,
}

/// What became of the lines since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines written, wherever.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lines dropped because too many waited to be written.
    pub dropped_queue: u64,
    /// Lines dropped because neither the file nor standard error took them.
    pub dropped_output: u64,
    /// Lines written to standard error because the file could not be: part of
    /// `lines`.
    pub diverted: u64,
    /// Files put aside because the next line would have made them too large.
    pub rotations: u64,
    /// Failures of the file: to open, write, rename, compress or delete it.
    pub errors: u64,
    /// Lines of this process that were not logged because there were too many of
    /// their kind; see [`crate::limited!`].
    pub suppressed: u64,
}

impl Counts {
    pub(super) fn reading(&self) -> LogCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LogCounts {
            lines: read(&self.lines),
            bytes: read(&self.bytes),
            dropped_queue: read(&self.dropped_queue),
            dropped_output: read(&self.dropped_output),
            diverted: read(&self.diverted),
            rotations: read(&self.rotations),
            errors: read(&self.errors),
            suppressed: suppressed_lines(),
        }
    }
}

pub(super) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}
