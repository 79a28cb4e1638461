//! The log: lines for people or machines, through a bounded queue to a thread
//! that writes them. Logging never waits for a disk or a terminal.
//!
//! A line that was written stays: rotation renames, compression deletes the
//! plain file only when the compressed one is safely there, and what a kill
//! leaves behind is finished at the next start.

mod limit;
#[cfg(feature = "log")]
mod subscriber;
pub mod target;

pub use limit::{Limit, suppressed_lines};
#[cfg(feature = "log")]
pub(crate) use subscriber::stderr_prefix;
#[cfg(feature = "log")]
pub use subscriber::{BoxedLayer, Log, LogCounts, LogError, check, for_stderr, is_own, start};
