//! Making a good network bad.
//!
//! * [`loss`]: packets vanish inside a namespace, in the kernel, at random
//! * [`proxy`]: packets pass a process that loses, delays, reorders and repeats
//!   them as a seed says, so that a run can be repeated

pub mod loss;
pub mod proxy;
