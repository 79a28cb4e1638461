//! What every WZP program tells its operator.
//!
//! * [`settings`]: the sections of a configuration file that are about it
//! * [`log`]: what lines are about, and limits for those that strangers can cause
//! * [`bucket`]: how much of something that strangers can cause is let through
//! * [`metrics`]: histograms that any thread may add to
//! * [`trace`]: what a handshake or a reload consists of
//! * [`panics`]: what became of threads and tasks that failed
//! * [`links`]: where a file is that links lead to
//! * [`lock`]: locks that a panic leaves open
//!
//! The rest costs crates, so that each part is a feature of its own:
//!
//! * `log`: lines for people and machines, and the files they are in; panics become lines
//! * `metrics`: families, declared once, and the forms in which they are shown;
//!   [`health`]: whether a program is well; [`cpu`]: what of the machine's processors it
//!   may use, and uses
//! * `http`: [`http`], the pages that show both; implies `metrics` and `tasks`
//! * `otlp`: traces are sent, by OTLP or to Zipkin; implies `log`
//! * `audit`: [`audit`], who did what, in a file that shows when it was tampered with
//! * `tasks`: [`panics::supervised`], for tasks that are begun again
//!
//! With `audit`, `log` or `metrics` there is [`probe`]: whether files could be made and
//! written, without making them.

mod attempt;
#[cfg(feature = "audit")]
pub mod audit;
pub mod bucket;
#[cfg(feature = "metrics")]
mod cgroup;
#[cfg(feature = "metrics")]
pub mod cpu;
#[cfg(feature = "metrics")]
mod flight;
#[cfg(feature = "metrics")]
mod gzip;
#[cfg(feature = "metrics")]
pub mod health;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "log")]
mod layer;
pub mod links;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod panics;
#[cfg(any(feature = "audit", feature = "log", feature = "metrics"))]
pub mod probe;
pub mod settings;
pub mod trace;

/// For [`limited!`].
#[doc(hidden)]
pub use tracing;
