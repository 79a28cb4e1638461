//! A file descriptor for each session.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::failure::LoadFailure;

/// Standard streams, event loops, signals, resolver.
const OTHERS: u64 = 64;

/// What one thread's event loop takes.
const PER_THREAD: u64 = 8;

/// Lets this process have as many descriptors as so many sessions need.
pub(crate) fn provide(sessions: u64, threads: usize) -> Result<(), LoadFailure> {
    let needed = sessions + OTHERS + PER_THREAD * threads as u64;
    let limit = getrlimit(Resource::Nofile);
    // None is "no limit".
    let allows = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if allows(limit.current) {
        return Ok(());
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if allows(limit.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let limit = limit.maximum.or(limit.current).unwrap_or(u64::MAX);
    Err(LoadFailure::Descriptors { sessions, needed, limit })
}
