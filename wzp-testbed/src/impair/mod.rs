//! Making a good network bad.
//!
//! * [`bottleneck`]: an interface of a namespace takes packets slowly
//! * [`loss`]: packets vanish inside a namespace, in the kernel, at random
//! * [`proxy`]: packets pass a process that loses, delays, reorders and repeats
//!   them as a seed says, so that a run can be repeated

pub mod bottleneck;
pub mod loss;
pub mod proxy;
