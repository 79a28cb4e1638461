//! What comes from outside of a program and may not be what it seems.
//!
//! * [`text`]: what somebody else chose, made safe for people to look at
//! * [`json`]: the same for programs
//! * [`file`](mod@file): files that are read whole, within bounds
//!
//! Every door through which a program lets foreign text out or a whole file in is
//! to use these, so that what is safe is decided once.

pub mod file;
pub mod json;
pub mod text;
