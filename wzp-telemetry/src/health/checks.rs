//! Checks that every program can make of its machine.

use std::fs;
use std::path::Path;

use bytesize::ByteSize;
use procfs::process::Process;
use procfs::{Current, Meminfo};

use super::{Check, Consequence};

/// From this share of a limit on, an operator should know.
const NEARLY: f64 = 0.9;

/// Where the kernel shows control groups, version 2.
const CGROUPS: &str = "/sys/fs/cgroup";

/// `memory`: whether the process is about to use all that it may have: the
/// limit of its control groups, or what the machine has.
pub fn memory() -> Check {
    let used = Process::myself().and_then(|process| process.stat());
    let used = used.map(|stat| stat.rss.saturating_mul(procfs::page_size()));
    let machine = Meminfo::current().map(|memory| memory.mem_total).ok();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = [cgroup_limit(Path::new(CGROUPS), &groups), machine].into_iter().flatten().min();
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

/// The least limit of the group and those it is in.
fn cgroup_limit(root: &Path, groups: &str) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limits = Path::new(own).ancestors().filter_map(|group| {
        let limit = fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        // "max" where there is none.
        limit.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_judged_by_the_least_limit_on_the_way_up() {
        let root = tempfile::tempdir().unwrap();
        let groups = "12:memory:/elsewhere\n0::/system.slice/relay.service\n";
        let own = root.path().join("system.slice/relay.service");
        fs::create_dir_all(&own).unwrap();
        assert_eq!(cgroup_limit(root.path(), groups), None);
        fs::write(own.join("memory.max"), "max\n").unwrap();
        assert_eq!(cgroup_limit(root.path(), groups), None);
        fs::write(root.path().join("system.slice/memory.max"), "2000\n").unwrap();
        assert_eq!(cgroup_limit(root.path(), groups), Some(2000));
        fs::write(own.join("memory.max"), "1000\n").unwrap();
        assert_eq!(cgroup_limit(root.path(), groups), Some(1000));
        // A container sees its own group as the root.
        fs::write(root.path().join("memory.max"), "500\n").unwrap();
        assert_eq!(cgroup_limit(root.path(), "0::/\n"), Some(500));
    }

    #[test]
    fn memory_is_tight_from_nine_tenths_on() {
        assert_eq!(judge_memory(899, 1000), Check::ok("memory"));
        let (_, reason) = judge_memory(15 << 30, 16 << 30).problem.unwrap();
        assert_eq!(reason, "15.0 GiB of 16.0 GiB are used");
        assert_eq!(memory(), Check::ok("memory"), "this test takes little");
    }
}
