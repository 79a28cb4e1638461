//! One run: a server, a load on it, and what both used in the measured time.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use wzp_testbed::metrics::Scrape;
use wzp_testbed::process::Process;

use super::contestant::Contestant;
use super::cpus::{Split, start};
use super::generator::{Generator, Load, Report};
use super::place::Place;
use super::programs::Programs;
use super::reading::{Process as ProcessReading, Reading};
use super::scenario::Scenario;
use super::server::{MetricsPage, Server};

/// More than this share of its CPUs, and the server has no more to give.
const SERVER_FULL: f64 = 0.95;

/// More than this share of the machine used by others, or taken by the
/// hypervisor, and figures are theirs too.
const DISTURBED: f64 = 0.1;

/// The clocks of `schedstat` and `stat` may be apart by this share and time.
const CLOCKS_APART: (f64, Duration) = (0.05, Duration::from_millis(50));

/// What does not change from run to run.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The programs that are measured.
    pub(crate) programs: Programs,
    /// Where they meet.
    pub(crate) place: Place,
    /// On which CPUs.
    pub(crate) cpus: Split,
    /// Seconds of talking before the measured time.
    pub(crate) warm_up: u32,
    /// Seconds of measured time.
    pub(crate) seconds: u32,
    /// Whether another program wants the server's CPUs all the time.
    pub(crate) burner: bool,
}

/// What one run brought.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Run {
    /// The measured time between the readings.
    pub(crate) seconds: f64,
    /// CPU time of the server in it.
    pub(crate) server_cpu_s: f64,
    /// The same as a share of the CPUs that it can use.
    pub(crate) server_load: f64,
    /// Times a thread of the server went to sleep.
    pub(crate) server_sleeps: u64,
    /// Times a thread of the server had to make way.
    pub(crate) server_preemptions: u64,
    /// Memory of the server when it was ready.
    pub(crate) server_bytes_before: u64,
    /// Memory of the server at the end of the measured time.
    pub(crate) server_bytes: u64,
    /// Sessions at that time.
    pub(crate) sessions: u64,
    /// CPU time of the server while the sessions joined.
    pub(crate) join_cpu_s: f64,
    /// CPU time of the machine in the measured time.
    pub(crate) machine_cpu_s: f64,
    /// The share of it that programs had which are no part of the experiment.
    pub(crate) others_load: f64,
    /// The share that the hypervisor gave to others.
    pub(crate) stolen: f64,
    /// Packets that found no room in the server's sockets.
    pub(crate) server_overflows: u64,
    /// Packets that found no room in the generator's sockets.
    pub(crate) generator_overflows: u64,
    /// Frames that the server says it dropped, since its start.
    pub(crate) server_dropped: Option<f64>,
    /// What the generator found.
    pub(crate) load: Report,
    /// What limited or disturbed it.
    pub(crate) remarks: Vec<Remark>,
}

/// What limited or disturbed a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Remark {
    /// The same for all remarks of this kind.
    pub(crate) kind: &'static str,
    /// What was found, as a sentence.
    pub(crate) text: String,
}

/// What else runs while it is measured, because the experiment wants it.
struct Company {
    burners: Vec<Process>,
    silent: Option<Generator>,
}

impl Company {
    /// CPU time so far.
    fn cpu(&self) -> Result<Duration> {
        let burners = self.burners.iter().map(Process::id);
        let ids = burners.chain(self.silent.iter().map(Generator::id));
        ids.map(|id| ProcessReading::read(id).map(|reading| reading.cpu)).sum()
    }
}

impl Bench {
    /// Measures one contestant in one scenario.
    ///
    /// # Errors
    /// A program cannot be started, or ends when it should not.
    pub(crate) fn measure(&self, contestant: &Contestant, scenario: &Scenario) -> Result<Run> {
        let server = Server::start(contestant, &self.programs, &self.place, &self.cpus)
            .with_context(|| format!("cannot start {}", contestant.name))?;
        let run = std::thread::scope(|scope| {
            let (stop, stopped) = channel::<()>();
            let scraper = contestant.scraped_every.map(|every| {
                let page = server.metrics();
                scope.spawn(move || {
                    while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                        page.map(MetricsPage::scrape).transpose()?;
                    }
                    anyhow::Ok(())
                })
            });
            let run = self.load(contestant, scenario, &server);
            drop(stop);
            match scraper.map(std::thread::ScopedJoinHandle::join) {
                Some(Ok(scraped)) => scraped.and(run),
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => run,
            }
        });
        // A server that is gone is the reason for whatever else went wrong.
        server.stop().with_context(|| format!("{} failed", contestant.name)).and(run)
    }

    fn load(
        &self,
        contestant: &Contestant,
        scenario: &Scenario,
        server: &Server<'_>,
    ) -> Result<Run> {
        let fresh = ProcessReading::read(server.id())?;
        let company = self.company(scenario, server)?;
        let silent = scenario.idle_rooms * scenario.members;
        let before = ProcessReading::read(server.id())?;
        let load = Load {
            scenario: scenario.clone(),
            warm_up: self.warm_up,
            seconds: self.seconds,
            rooms: "load",
        };
        let mut generator = self.start(&load, server)?;
        generator.joined()?;
        let joined = ProcessReading::read(server.id())?;
        generator.measuring()?;
        let company_start = company.cpu()?;
        let start = Reading::take(server.id(), generator.id())?;
        generator.measured()?;
        let end = Reading::take(server.id(), generator.id())?;
        let company_cpu = company.cpu()?.saturating_sub(company_start).as_secs_f64();
        let report = generator.report()?;
        let scrape = server.metrics().map(MetricsPage::scrape).transpose()?;
        drop(company);

        let window = (end.at - start.at).as_secs_f64();
        let server_cpus = self.cpus.server.len();
        let usable = contestant.shards().map_or(server_cpus, |shards| shards.min(server_cpus));
        let server_cpu = end.server.cpu.saturating_sub(start.server.cpu).as_secs_f64();
        let generator_cpu = end.generator.cpu.saturating_sub(start.generator.cpu).as_secs_f64();
        let machine_cpu = (end.machine.busy.saturating_sub(start.machine.busy)).as_secs_f64();
        let stolen = (end.machine.stolen.saturating_sub(start.machine.stolen)).as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // A few CPUs.
        let usable = usable as f64 * window;
        let machine = f64::from(end.machine.cpus) * window;
        let others = machine_cpu - server_cpu - generator_cpu - company_cpu;
        let mut run = Run {
            seconds: window,
            server_cpu_s: server_cpu,
            server_load: server_cpu / usable,
            server_sleeps: end.server.voluntary_switches - start.server.voluntary_switches,
            server_preemptions: end.server.involuntary_switches - start.server.involuntary_switches,
            server_bytes_before: fresh.resident_bytes,
            server_bytes: end.server.resident_bytes,
            sessions: report.sessions + u64::from(silent),
            join_cpu_s: joined.cpu.saturating_sub(before.cpu).as_secs_f64(),
            machine_cpu_s: machine_cpu,
            others_load: others.max(0.0) / machine,
            stolen: stolen / machine,
            server_overflows: end.server_overflows - start.server_overflows,
            generator_overflows: end.generator_overflows - start.generator_overflows,
            server_dropped: scrape.as_ref().map(dropped),
            load: report,
            remarks: Vec::new(),
        };
        run.remarks = remarks(&run, clocks_apart(&start.server, &end.server));
        Ok(run)
    }

    /// The burners and the silent rooms of the scenario.
    fn company(&self, scenario: &Scenario, server: &Server<'_>) -> Result<Company> {
        let burners = if self.burner { self.cpus.server.len() } else { 0 };
        let mut burn = Command::new("sh");
        burn.args(["-c", "while :; do :; done"]);
        let burners = (0..burners).map(|_| start("burner", &burn, &self.cpus.server));
        let burners = burners.collect::<Result<_>>()?;
        let silent = match scenario.beside() {
            Some(scenario) => {
                // Dropped, and so ended, before its time is over.
                let load = Load { scenario, warm_up: 0, seconds: 3600, rooms: "silent" };
                let mut generator = self.start(&load, server)?;
                generator.joined()?;
                Some(generator)
            }
            None => None,
        };
        Ok(Company { burners, silent })
    }

    fn start(&self, load: &Load, server: &Server<'_>) -> Result<Generator> {
        Generator::start(load, server.target(), &self.programs, &self.place, &self.cpus)
    }
}

/// Frames that the relay dropped for whatever reason.
fn dropped(scrape: &Scrape) -> f64 {
    scrape.sum("wzp_relay_packets_dropped_total", &[]).unwrap_or(0.0)
}

/// Whether the two clocks for a process's CPU time disagree on the time
/// between two readings.
fn clocks_apart(start: &ProcessReading, end: &ProcessReading) -> bool {
    let (share, time) = CLOCKS_APART;
    let fine = end.cpu.saturating_sub(start.cpu);
    let coarse = end.cpu_ticks.saturating_sub(start.cpu_ticks);
    fine.abs_diff(coarse) > time.max(fine.mul_f64(share))
}

fn remarks(run: &Run, clocks_apart: bool) -> Vec<Remark> {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let failures: u64 = run.load.join_failures.values().sum();
    let lost: u64 = run.load.sessions_lost.values().sum();
    let reasons = |reasons: &BTreeMap<String, u64>| {
        reasons.keys().map(String::as_str).collect::<Vec<_>>().join("; ")
    };
    let (others, stolen) = (run.others_load, run.stolen);
    [
        (run.load.saturated, "generator", "the load generator was the limit".to_owned()),
        (
            run.server_load > SERVER_FULL,
            "server",
            format!("the server was the limit, at {} of its CPUs", percent(run.server_load)),
        ),
        (
            others > DISTURBED,
            "others",
            format!("the machine was the limit: other programs had {} of it", percent(others)),
        ),
        (
            stolen > DISTURBED,
            "stolen",
            format!("the machine was the limit: its hypervisor took {}", percent(stolen)),
        ),
        (
            run.generator_overflows > 0,
            "overflows",
            format!("{} packets found a client's socket full", run.generator_overflows),
        ),
        (
            failures > 0,
            "failures",
            format!("{failures} sessions could not join: {}", reasons(&run.load.join_failures)),
        ),
        (
            lost > 0,
            "lost",
            format!("{lost} sessions were lost: {}", reasons(&run.load.sessions_lost)),
        ),
        (clocks_apart, "clocks", "the kernel's two clocks for CPU time disagree".to_owned()),
    ]
    .into_iter()
    .filter(|(applies, ..)| *applies)
    .map(|(_, kind, text)| Remark { kind, text })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_named() {
        let kinds = |run: &Run| -> Vec<_> {
            remarks(run, false).into_iter().map(|remark| remark.kind).collect()
        };
        assert_eq!(kinds(&Run { server_load: 0.9, others_load: 0.05, ..Run::default() }), [""; 0]);
        let mut run = Run { server_load: 0.97, others_load: 0.2, stolen: 0.2, ..Run::default() };
        assert_eq!(kinds(&run), ["server", "others", "stolen"]);
        run = Run { generator_overflows: 3, ..Run::default() };
        run.load.saturated = true;
        run.load.join_failures.insert("room_full".to_owned(), 2);
        run.load.sessions_lost.insert("timed out".to_owned(), 1);
        assert_eq!(kinds(&run), ["generator", "overflows", "failures", "lost"]);
        assert!(remarks(&run, true)[2].text.contains("2 sessions could not join: room_full"));
    }

    #[test]
    fn clocks_may_differ_by_a_few_ticks() {
        let reading = |fine, coarse| ProcessReading {
            cpu: Duration::from_millis(fine),
            cpu_ticks: Duration::from_millis(coarse),
            ..ProcessReading::default()
        };
        for (fine, coarse, apart) in
            [(5, 40, false), (10_000, 10_400, false), (10_000, 11_000, true)]
        {
            let end = reading(100 + fine, 100 + coarse);
            assert_eq!(clocks_apart(&reading(100, 100), &end), apart, "{fine} {coarse}");
        }
    }
}
