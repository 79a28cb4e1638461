//! What every WZP program tells its operator.
//!
//! * [`settings`]: the sections of a configuration file that are about it
//! * [`metrics`]: families, declared once, and the forms in which they are shown

pub mod metrics;
pub mod settings;
