//! What every WZP program tells its operator.
//!
//! * [`settings`]: the sections of a configuration file that are about it
//! * [`metrics`]: families, declared once, and the forms in which they are shown
//! * [`health`]: whether a program is well
//! * [`http`]: the pages that show both
//! * [`log`]: lines for people and machines, and the files they are in
//! * [`audit`]: who did what, in a file that shows when it was tampered with
//! * [`panics`]: what became of threads and tasks that failed
//! * [`probe`]: whether files could be made, without making them
//! * [`trace`]: what a handshake or a reload consists of, sent by OTLP

pub mod audit;
mod bucket;
mod flight;
pub mod health;
pub mod http;
pub mod log;
pub mod metrics;
pub mod panics;
pub mod probe;
pub mod settings;
pub mod trace;

/// For [`limited!`].
#[doc(hidden)]
pub use tracing;
