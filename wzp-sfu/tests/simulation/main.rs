//! A relay's shards and real quinn-proto clients in one thread, virtual time
//! and a seeded network. A failure names its seed; `WZP_SIM_SEED=<seed>` runs
//! only that one, `WZP_SIM_SEEDS=<n>` chooses how many are tried.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

mod amplification;
mod auth;
mod congestion;
mod failure;
mod ghosts;
mod hostile;
mod loss;
mod membership;
mod memory;
mod newcomers;
mod random;
mod reports;
mod rooms;
mod standing;
mod vitals;

#[global_allocator]
static ALLOCATOR: wzp_sim::memory::Counting = wzp_sim::memory::Counting;
