//! Processor time: what a process may use of the machine, and which share of that it, or
//! one of its threads, uses.

use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use procfs::process::{Process, Stat};
use rustix::process::getpid;
use rustix::thread::sched_getaffinity;

use crate::cgroup::{self, Groups};

/// A share is told over at least so long: the kernel's clock for it ticks every 10 ms.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// How many processors' time this process may use: those that it is bound to
/// (sched_setaffinity(2)), or less by the quota of its control groups, of either version.
/// Read each time, for both may be changed at any time.
pub fn allowed() -> f64 {
    let bound = sched_getaffinity(Some(getpid())).map(|cpus| cpus.count());
    // The set has an end, and machines may have more.
    let bound = bound.unwrap_or_else(|_| available_parallelism().map_or(1, |n| n.get() as u32));
    let bound = f64::from(bound.max(1));
    quota(&Groups::own()).map_or(bound, |quota| quota.min(bound))
}

/// Processor time that one of this process's threads has used, in seconds; `None`: there
/// is no such thread.
pub fn of_thread(thread: u32) -> Option<f64> {
    let thread = i32::try_from(thread).ok()?;
    let task = Process::myself().ok()?.task_from_tid(thread).ok()?;
    Some(seconds(&task.stat().ok()?))
}

/// Processor time of a process or thread, in seconds.
pub(crate) fn seconds(stat: &Stat) -> f64 {
    stat.utime.saturating_add(stat.stime) as f64 / procfs::ticks_per_second() as f64
}

/// Processor time over what there was to use, between two looks.
#[derive(Clone, Debug)]
pub struct Usage {
    since: Instant,
    /// Used until then.
    seconds: f64,
    percent: Option<f64>,
}

impl Usage {
    /// Begins at `now`, when so many seconds had been used.
    pub fn new(now: Instant, seconds: f64) -> Self {
        Self { since: now, seconds, percent: None }
    }

    /// Looks again if the last look is at least a second ago; per cent of `processors`
    /// that may be used, 0 to 100. Several who look see the same value then, and none
    /// makes the interval of another too short. `None` within the first second: nothing
    /// is known of it yet, and it is not 0.
    pub fn update(&mut self, now: Instant, seconds: f64, processors: f64) -> Option<f64> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= LEAST_INTERVAL {
            let available = elapsed.as_secs_f64() * processors;
            // A quota may be used up in advance, and ticks are coarse.
            let percent = ((seconds - self.seconds) / available * 100.0).clamp(0.0, 100.0);
            *self = Self { since: now, seconds, percent: Some(percent) };
        }
        self.percent
    }
}

/// The least quota of the groups, in processors.
fn quota(groups: &Groups) -> Option<f64> {
    let unified = groups.unified().filter_map(|folder| unified_quota(&folder));
    let legacy = groups.of_controller("cpu").filter_map(|folder| legacy_quota(&folder));
    unified.chain(legacy).min_by(f64::total_cmp)
}

/// `cpu.max` is `QUOTA PERIOD`, in microseconds, or `max PERIOD`.
fn unified_quota(folder: &Path) -> Option<f64> {
    let text = cgroup::read(folder, "cpu.max")?;
    let (quota, period) = text.trim().split_once(' ')?;
    processors(quota, period)
}

/// The same numbers in a file each; a quota of -1 is none.
fn legacy_quota(folder: &Path) -> Option<f64> {
    let read = |name| cgroup::read(folder, name);
    processors(read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
}

fn processors(quota: &str, period: &str) -> Option<f64> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
    Some(number(quota)? as f64 / number(period)? as f64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of a group, and what is in it.
    type File<'a> = (&'a str, &'a str);

    /// The quota of a group `a/b`, given as files and what is in them.
    fn quota_of(lines: &str, files: &[File<'_>]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        quota(&Groups::new(root.path(), lines))
    }

    #[test]
    fn the_least_quota_on_the_way_up_counts() {
        let v2 = "0::/a/b";
        let v1 = "7:cpu,cpuacct:/a/b\n0::/a";
        let long = "9".repeat(70_000);
        let cases: &[(&str, &[File<'_>], Option<f64>)] = &[
            (v2, &[], None),
            (v2, &[("a/b/cpu.max", "max 100000\n")], None),
            (v2, &[("a/b/cpu.max", "50000 100000\n")], Some(0.5)),
            (v2, &[("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "150000 100000\n")], Some(1.5)),
            (v2, &[("a/b/cpu.max", "300000 100000"), ("a/cpu.max", "20000 10000")], Some(2.0)),
            ("0::/", &[("cpu.max", "10000 100000\n")], Some(0.1)),
            ("0::/../x", &[("cpu.max", "10000 100000\n"), ("x/cpu.max", "1 1\n")], Some(0.1)),
            // What cannot be is none.
            (v2, &[("a/b/cpu.max", "0 100000\n")], None),
            (v2, &[("a/b/cpu.max", "100000 0\n")], None),
            (v2, &[("a/b/cpu.max", "-1 100000\n")], None),
            (v2, &[("a/b/cpu.max", "100000\n")], None),
            (v2, &[("a/b/cpu.max", "")], None),
            (v2, &[("a/b/cpu.max", "99999999999999999999999 1\n")], None),
            (v2, &[("a/b/cpu.max", &long)], None),
            (v2, &[("a/b/cpu.max/it-is-a-folder", "")], None),
            (
                v1,
                &[
                    ("cpu,cpuacct/a/b/cpu.cfs_quota_us", "25000\n"),
                    ("cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"),
                    ("cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n"),
                    ("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
                ],
                Some(0.25),
            ),
            (v1, &[("cpu,cpuacct/a/b/cpu.cfs_quota_us", "25000\n")], None),
            ("", &[("cpu.max", "1 2")], None),
        ];
        for (lines, files, expected) in cases {
            assert_eq!(quota_of(lines, files), *expected, "{lines:?} {files:.60?}");
        }
    }

    #[test]
    fn the_share_is_told_over_a_second_at_least_and_never_above_all() {
        let start = Instant::now();
        let cases = [
            // After so many seconds so many are used, of so many processors.
            (0.4, 5.4, 1.0, None),
            (1.0, 5.5, 1.0, Some(50.0)),
            (1.9, 7.5, 1.0, Some(50.0)),
            (3.0, 9.5, 4.0, Some(50.0)),
            (4.0, 9.75, 0.5, Some(50.0)),
            (5.0, 10.75, 0.5, Some(100.0)),
            (6.0, 10.0, 1.0, Some(0.0)),
        ];
        let mut usage = Usage::new(start, 5.0);
        for (at, seconds, processors, percent) in cases {
            let told = usage.update(start + Duration::from_secs_f64(at), seconds, processors);
            let told = told.map(|told| (told * 1e3).round() / 1e3);
            assert_eq!(told, percent, "{at} s");
        }
    }

    #[test]
    fn own_threads_are_told_apart_from_others() {
        let own = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        assert!(of_thread(own).is_some());
        assert_eq!(of_thread(1 << 30), None);
        assert_eq!(of_thread(u32::MAX), None);
        assert!(allowed() > 0.0);
    }
}
