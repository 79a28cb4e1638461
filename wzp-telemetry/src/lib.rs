//! What every WZP program tells its operator.
//!
//! * [`settings`]: the sections of a configuration file that are about it
//! * [`metrics`]: families, declared once, and the forms in which they are shown
//! * [`health`]: whether a program is well
//! * [`http`]: the pages that show both

mod flight;
pub mod health;
pub mod http;
pub mod metrics;
pub mod settings;
