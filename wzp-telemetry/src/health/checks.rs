//! Checks that every program can make of its machine.

use bytesize::ByteSize;
use procfs::process::Process;
use procfs::{Current, Meminfo};

use super::{Check, Consequence};
use crate::cgroup::{self, Groups};

/// From this share of a limit on, an operator should know.
const NEARLY: f64 = 0.9;

/// `memory`: whether the process is about to use all that it may have: the
/// limit of its control groups, or what the machine has.
pub fn memory() -> Check {
    let used = Process::myself().and_then(|process| process.stat());
    let used = used.map(|stat| stat.rss.saturating_mul(procfs::page_size()));
    let machine = Meminfo::current().map(|memory| memory.mem_total).ok();
    let limit = [group_limit(&Groups::own()), machine].into_iter().flatten().min();
    match (used, limit) {
        (Ok(used), Some(limit)) => judge_memory(used, limit),
        // Nothing is known to be wrong.
        _ => Check::ok("memory"),
    }
}

fn judge_memory(used: u64, limit: u64) -> Check {
    if (used as f64) < limit as f64 * NEARLY {
        return Check::ok("memory");
    }
    let [used, limit] = [used, limit].map(|bytes| ByteSize(bytes).display().iec().to_string());
    let reason = format!("{used} of {limit} are used");
    Check::failed("memory", Consequence::Degraded, reason)
}

/// The least limit of the group and those it is in, version 2.
fn group_limit(groups: &Groups) -> Option<u64> {
    // "max" where there is none.
    let limit =
        |folder: std::path::PathBuf| cgroup::read(&folder, "memory.max")?.trim().parse().ok();
    groups.unified().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn memory_is_judged_by_the_least_limit_on_the_way_up() {
        let root = tempfile::tempdir().unwrap();
        let group_limit = |lines: &str| group_limit(&Groups::new(root.path(), lines));
        let groups = "12:memory:/elsewhere\n0::/system.slice/relay.service\n";
        let own = root.path().join("system.slice/relay.service");
        fs::create_dir_all(&own).unwrap();
        assert_eq!(group_limit(groups), None);
        fs::write(own.join("memory.max"), "max\n").unwrap();
        assert_eq!(group_limit(groups), None);
        fs::write(root.path().join("system.slice/memory.max"), "2000\n").unwrap();
        assert_eq!(group_limit(groups), Some(2000));
        fs::write(own.join("memory.max"), "1000\n").unwrap();
        assert_eq!(group_limit(groups), Some(1000));
        // A container sees its own group as the root.
        fs::write(root.path().join("memory.max"), "500\n").unwrap();
        assert_eq!(group_limit("0::/\n"), Some(500));
    }

    #[test]
    fn memory_is_tight_from_nine_tenths_on() {
        assert_eq!(judge_memory(899, 1000), Check::ok("memory"));
        let (_, reason) = judge_memory(15 << 30, 16 << 30).problem.unwrap();
        assert_eq!(reason, "15.0 GiB of 16.0 GiB are used");
        assert_eq!(memory(), Check::ok("memory"), "this test takes little");
    }
}
