//! `wraith_cpu_usage_percent` is of what the process may use: held against the kernel's own
//! account of the process, with the processors that it is bound to and with a quota.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wzp_testbed::relay::{Launch, Relay, temporary_state};

/// How long the load lasts between two looks.
const WINDOW: Duration = Duration::from_secs(3);

/// Processor time that a process has used.
fn seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<f64> = fields.split_whitespace().skip(1).map(|f| f.parse().unwrap()).collect();
    // In ticks, a hundred a second on every machine that Linux tells programs of.
    (fields[10] + fields[11]) / 100.0
}

/// A relay that was started with these words before its own, by nobody else asked.
fn relay(before: &[&str]) -> (Relay<'static>, tempfile::TempDir) {
    let folder = temporary_state().unwrap();
    let launch = Launch {
        program: wzp_testbed::binaries::relay(),
        namespace: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        state_dir: folder.path().join("state"),
        arguments: Vec::new(),
    };
    let plain = launch.command();
    let mut command = Command::new(before.first().copied().unwrap_or("env"));
    command.args(before.iter().skip(1)).arg(plain.get_program()).args(plain.get_args());
    (Relay::from_command(command, None).unwrap(), folder)
}

/// Keeps a relay busy with packets that are none, while `work` is done.
fn keep_busy<T>(relay: SocketAddr, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let crowd = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !stop.load(Ordering::Relaxed) {
                let _ = crowd.send_to(&[0; 100], relay);
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// What the relay says that it used of `processors`, is what it used.
fn assert_true(relay: &Relay<'_>, processors: f64) {
    let percent = || {
        let scrape = relay.scrape().unwrap();
        scrape.sum("wraith_cpu_usage_percent", &[])
    };
    let (told, used) = keep_busy(relay.listen(), || {
        percent();
        let (began, before) = (Instant::now(), seconds(relay.id()));
        thread::sleep(WINDOW);
        let told = percent().unwrap();
        (told, (seconds(relay.id()) - before) / began.elapsed().as_secs_f64())
    });
    let expected = (used / processors * 100.0).min(100.0);
    println!("{used:.2} of {processors} processors are used, told are {told:.1} %");
    assert!(used > 0.05, "the relay had nothing to do");
    assert!((0.0..=100.0).contains(&told), "{told}");
    assert!((told - expected).abs() < 8.0, "told {told:.1} %, and it is {expected:.1} %");
    let shards = relay.scrape().unwrap();
    let shards = shards.samples.iter().filter(|s| s.name == "wzp_relay_shard_cpu_usage_percent");
    let shards: Vec<_> = shards.map(|sample| sample.value).collect();
    assert!(!shards.is_empty() && shards.iter().all(|share| (0.0..=100.0).contains(share)));
}

/// The first look is of the time since the start, of shards as of the process.
#[test]
fn at_the_first_look() {
    let (relay, _folder) = relay(&["taskset", "-c", "0"]);
    thread::sleep(Duration::from_secs(1));
    let scrape = keep_busy(relay.listen(), || {
        thread::sleep(WINDOW);
        relay.scrape().unwrap()
    });
    let all = scrape.sum("wraith_cpu_usage_percent", &[]).unwrap();
    let shards = scrape.sum("wzp_relay_shard_cpu_usage_percent", &[]).unwrap();
    println!("the process {all:.1} %, its shards {shards:.1} %");
    assert!(shards > 2.0 && shards < all + 8.0, "shards {shards:.1} %, the process {all:.1} %");
}

#[test]
fn of_the_processors_that_it_is_bound_to() {
    let all = thread::available_parallelism().unwrap().get() as f64;
    assert_true(&relay(&[]).0, all);
    assert_true(&relay(&["taskset", "-c", "0"]).0, 1.0);
}

/// A control group with a quota of half a processor. Removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Of whichever version there is; `None`: none can be made here.
    fn new() -> Option<Self> {
        let name = format!("wzp-test-{}", std::process::id());
        let unified = Path::new("/sys/fs/cgroup").join(&name);
        let legacy = Path::new("/sys/fs/cgroup/cpu").join(&name);
        for (path, file, quota) in
            [(legacy, "cpu.cfs_quota_us", "50000"), (unified, "cpu.max", "50000 100000")]
        {
            let parent = path.parent()?;
            if !parent.join("cgroup.procs").exists() || fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self(path);
            if fs::write(group.0.join(file), quota).is_ok() {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel takes a moment to see that the group is empty.
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn of_the_quota_of_its_control_group() {
    let Some(group) = Group::new() else {
        eprintln!(
            "\nSKIPPED, NOTHING WAS TESTED: no control group with a quota can be made here\n"
        );
        return;
    };
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    assert_true(&relay(&["sh", "-c", &enter, "sh"]).0, 0.5);
}
