//! Attacks on a relay, and what they cost others.
//!
//! * [`attack`]: every attack, its name and what it sends
//! * [`scene`]: the relay, the honest callers and the strangers, in namespaces
//! * [`honest`]: two calls, newcomers and a monitor: those who must not notice
//! * [`trial`]: one attack beside them
//! * [`row`]: its line in the table
//!
//! Nothing here sends to anything but the relay that it started.

pub mod attack;
pub mod honest;
pub mod row;
pub mod scene;
pub mod trial;
