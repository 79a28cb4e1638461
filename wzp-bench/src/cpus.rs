//! CPUs: who runs where.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use wzp_testbed::bound::bound;
use wzp_testbed::process::Process;

/// Which CPUs the two sides run on, by the kernel's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Split {
    /// The server's.
    pub(crate) server: BTreeSet<usize>,
    /// The load generator's.
    pub(crate) generator: BTreeSet<usize>,
}

impl Split {
    /// The first half of the CPUs that this process may use for the server,
    /// the other for the generator; or all of them for both.
    ///
    /// # Errors
    /// The system does not tell which they are.
    pub(crate) fn new(shared: bool) -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot tell which CPUs may be used")?;
        let allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        Ok(Self::of(&allowed, shared))
    }

    fn of(allowed: &[usize], shared: bool) -> Self {
        let all: BTreeSet<_> = allowed.iter().copied().collect();
        // One alone has no halves.
        if shared || allowed.len() < 2 {
            return Self { server: all.clone(), generator: all };
        }
        let (server, generator) = allowed.split_at(allowed.len() / 2);
        Self {
            server: server.iter().copied().collect(),
            generator: generator.iter().copied().collect(),
        }
    }

    /// Whether both sides compete for the same CPUs.
    pub(crate) fn is_shared(&self) -> bool {
        self.server == self.generator
    }
}

/// Starts `command` on these CPUs. It ends with this program, however that
/// ends.
///
/// # Errors
/// The system does not let it run there, or it cannot be started.
pub(crate) fn start(name: &str, command: &Command, cpus: &BTreeSet<usize>) -> Result<Process> {
    let bound = bound(command)?;
    on(cpus, || Process::start(name, bound))
}

/// Does `work` on these CPUs, and what it starts stays there.
fn on<T>(cpus: &BTreeSet<usize>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    let before = sched_getaffinity(None).context("cannot tell which CPUs may be used")?;
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on CPUs {cpus:?}"))?;
    let result = work();
    sched_setaffinity(None, &before).context("cannot run on all CPUs again")?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        let cases: [(&[usize], &[usize], &[usize]); 4] = [
            (&[0, 1], &[0], &[1]),
            (&[2, 3, 6], &[2], &[3, 6]),
            (&[0, 1, 2, 3], &[0, 1], &[2, 3]),
            (&[5], &[5], &[5]),
        ];
        for (allowed, server, generator) in cases {
            let split = Split::of(allowed, false);
            assert!(split.server.iter().eq(server), "{allowed:?}: {split:?}");
            assert!(split.generator.iter().eq(generator), "{allowed:?}: {split:?}");
        }
        assert!(Split::of(&[0, 1], true).is_shared());
        assert!(!Split::of(&[0, 1], false).is_shared());
    }

    #[test]
    fn children_stay_where_they_were_started() {
        let all = Split::new(true).unwrap().server;
        let one = *all.first().unwrap();
        let output = on(&BTreeSet::from([one]), || {
            Ok(Command::new("cat").arg("/proc/self/status").output()?)
        });
        let status = String::from_utf8(output.unwrap().stdout).unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert_eq!(list.unwrap().trim(), one.to_string());
        assert_eq!(Split::new(true).unwrap().server, all, "this program is where it was");
    }
}
