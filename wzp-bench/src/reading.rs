//! Readings of `/proc`: what a process, the machine and the sockets have used
//! up so far. Only differences between two of them mean something.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Of one process, all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// User and system time of the threads that live.
    pub(crate) cpu: Duration,
    /// The same in ticks of 10 ms, with that of threads which are gone.
    pub(crate) cpu_ticks: Duration,
    /// Times a thread went to sleep.
    pub(crate) voluntary_switches: u64,
    /// Times a thread had to make way.
    pub(crate) involuntary_switches: u64,
    /// Memory it holds, in bytes.
    pub(crate) resident_bytes: u64,
}

/// Of the whole machine, in CPU time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// How many CPUs the machine has.
    pub(crate) cpus: u32,
    /// Time for which a CPU was not idle.
    pub(crate) busy: Duration,
    /// The hypervisor ran somebody else.
    pub(crate) stolen: Duration,
}

/// Everything at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// When the figures were read.
    pub(crate) at: Instant,
    /// What the server has used.
    pub(crate) server: Process,
    /// The load generator.
    pub(crate) generator: Process,
    /// What the whole machine has used.
    pub(crate) machine: Machine,
    /// Packets that found no room in a socket where the server runs.
    pub(crate) server_overflows: u64,
    /// The same where the load generator runs.
    pub(crate) generator_overflows: u64,
}

impl Reading {
    /// Of the processes with these ids.
    ///
    /// # Errors
    /// One of them is gone.
    pub(crate) fn take(server: u32, generator: u32) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: Process::read(server)?,
            generator: Process::read(generator)?,
            machine: machine(&read("/proc/stat")?).context("/proc/stat is not understood")?,
            server_overflows: overflows_of(server)?,
            generator_overflows: overflows_of(generator)?,
        })
    }
}

impl Process {
    /// Of the process with that id.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn read(id: u32) -> Result<Self> {
        let mut reading = Self {
            cpu_ticks: ticks(&read(&format!("/proc/{id}/stat"))?)
                .context("its stat is not understood")?,
            resident_bytes: field(&read(&format!("/proc/{id}/status"))?, "VmRSS:")
                .context("its status has no VmRSS")?
                * 1024,
            ..Self::default()
        };
        let tasks = format!("/proc/{id}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("{tasks} is gone"))?.flatten() {
            let text = |name| fs::read_to_string(task.path().join(name));
            // A thread may end between the listing and here.
            let (Ok(schedstat), Ok(status)) = (text("schedstat"), text("status")) else { continue };
            reading.cpu += on_cpu(&schedstat).context("its schedstat is not understood")?;
            reading.voluntary_switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            reading.involuntary_switches +=
                field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(reading)
    }
}

fn overflows_of(id: u32) -> Result<u64> {
    overflows(&read(&format!("/proc/{id}/net/snmp"))?).context("its net/snmp is not understood")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// Linux has told programs of 100 ticks a second since there were others
/// inside.
const fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

/// The first field of `schedstat`: time on a CPU, in nanoseconds.
fn on_cpu(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Fields 14 and 15 of `stat`: user and system time. The name before them may
/// hold blanks and brackets.
fn ticks(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(from_ticks(next()? + next()?))
}

/// The number behind `name` in `status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq,
/// softirq, steal; guests are within user. A line for each CPU follows.
fn machine(stat: &str) -> Option<Machine> {
    let mut lines = stat.lines();
    let line = lines.next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let &[user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = &ticks[..] else {
        return None;
    };
    Some(Machine {
        cpus: lines.take_while(|line| line.starts_with("cpu")).map(|_| 1).sum(),
        busy: from_ticks(user + nice + system + irq + softirq),
        stolen: from_ticks(stolen),
    })
}

/// `RcvbufErrors` of UDP: a line of names and one of values.
fn overflows(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "RcvbufErrors")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel() {
        assert_eq!(on_cpu("1234567 89 10\n"), Some(Duration::from_nanos(1_234_567)));
        let stat = "71 (a (b) c) S 1 71 71 0 -1 4194304 91 0 0 0 250 31 0 0 20 0 1 0 5 0 0\n";
        assert_eq!(ticks(stat), Some(Duration::from_millis(2810)));
        let status = "Name:\tx\nVmRSS:\t    4056 kB\nvoluntary_ctxt_switches:\t10\n\
                      nonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "VmRSS:"), Some(4056));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(10));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(3));
        let stat = "cpu  100 1 20 900 30 2 3 4 50 0\ncpu0 1 2\ncpu1 3 4\nintr 5\n";
        let expected = Machine {
            cpus: 2,
            busy: Duration::from_millis(1260),
            stolen: Duration::from_millis(40),
        };
        assert_eq!(machine(stat), Some(expected));
        let snmp = "Tcp: RtoMin\nTcp: 200\nUdp: InDatagrams RcvbufErrors SndbufErrors\n\
                    Udp: 61 7 0\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 0\n";
        assert_eq!(overflows(snmp), Some(7));
    }

    #[test]
    fn other_texts_are_not_numbers() {
        assert_eq!(on_cpu(""), None);
        assert_eq!(ticks("71 (cat) S 1 71"), None);
        assert_eq!(field("Name:\tx\n", "VmRSS:"), None);
        assert_eq!(machine("cpu  100 1 20\n"), None);
        assert_eq!(overflows("Udp: InDatagrams\nUdp: 61\n"), None);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let id = std::process::id();
        let before = Process::read(id).unwrap();
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        let after = Process::read(id).unwrap();
        assert!(after.cpu > before.cpu, "{before:?} {after:?}");
        assert!(after.resident_bytes > 100_000);
        assert!(Process::read(u32::MAX).is_err());
    }
}
