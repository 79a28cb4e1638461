//! `wzp-client load` at work, and what it reports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use wzp_testbed::process::Process;

use super::cpus::{Split, start};
use super::place::Place;
use super::programs::{Programs, inside};
use super::scenario::Scenario;

/// How long all sessions may take to join, and to end.
const PATIENCE: Duration = Duration::from_secs(300);

/// How participants recognise a server.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// By its certificate's fingerprint.
    Pinned(String),
    /// They do not.
    Anyone,
}

/// Where a server takes participants in, and how they recognise it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) trust: &'a Trust,
}

/// What is to be generated.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Rooms, members, talkers, frames.
    pub(crate) scenario: Scenario,
    /// Seconds of talking before the measured time.
    pub(crate) warm_up: u32,
    /// Seconds of measured time.
    pub(crate) seconds: u32,
    /// What its rooms' names begin with.
    pub(crate) rooms: &'static str,
}

impl Load {
    /// One participant who joins and leaves.
    pub(crate) const PROBE: Self = Self {
        scenario: Scenario {
            name: "probe",
            rooms: 1,
            members: 1,
            talkers: 0,
            rate: 50.0,
            idle_rooms: 0,
            load_share: None,
        },
        warm_up: 0,
        seconds: 1,
        rooms: "probe",
    };
}

/// One line of the generator's.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Joined,
    Measuring,
    Measured,
    Result(Box<Report>),
}

/// What it found. Everything but `join_ms` is about the measured time.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Report {
    /// How long it was.
    pub(crate) duration_s: f64,
    /// Sessions that joined.
    pub(crate) sessions: u64,
    /// Those that did not, by reason.
    pub(crate) join_failures: BTreeMap<String, u64>,
    /// Those that ended too early, by reason.
    pub(crate) sessions_lost: BTreeMap<String, u64>,
    /// From the first packet to the end of the member list.
    pub(crate) join_ms: Percentiles,
    /// How fast they joined.
    pub(crate) joins_per_second: f64,
    /// Frames that talkers sent.
    pub(crate) frames_sent: u64,
    /// Frames that listeners should have heard.
    pub(crate) frames_expected: u64,
    /// Those of them that they heard.
    pub(crate) frames_received: u64,
    /// `frames_received` by `frames_expected`.
    pub(crate) delivered_share: Option<f64>,
    /// From a talker's send to a listener's receive.
    pub(crate) latency_us: Percentiles,
    /// Over the listening sessions.
    pub(crate) session_loss_pct: Percentiles,
    /// UDP packets from the server.
    pub(crate) packets_received: u64,
    /// Media frames in one UDP packet.
    pub(crate) frames_per_packet: Option<f64>,
    /// CPU time of the generator.
    pub(crate) cpu_s: f64,
    /// How late the talkers' clocks were.
    pub(crate) lag_us: Percentiles,
    /// Whether the generator was the limit.
    pub(crate) saturated: bool,
}

/// Some points of a distribution; those that were reported.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Percentiles {
    /// Half are below.
    pub(crate) p50: Option<f64>,
    /// One in a hundred is above.
    pub(crate) p99: Option<f64>,
    /// The largest that was seen.
    pub(crate) max: Option<f64>,
}

/// A load generator that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Generator {
    process: Process,
}

impl Generator {
    /// Starts one on its CPUs, a thread on each.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start(
        load: &Load,
        target: Target<'_>,
        programs: &Programs,
        place: &Place,
        cpus: &Split,
    ) -> Result<Self> {
        let scenario = &load.scenario;
        let mut command = inside(place.generator(), &programs.client);
        command.args(["load", "--json", "--room-prefix", load.rooms]);
        match target.trust {
            Trust::Pinned(fingerprint) => command.args(["--pin", fingerprint]),
            Trust::Anyone => command.arg("--insecure"),
        };
        for (name, value) in [
            ("--rooms", scenario.rooms.to_string()),
            ("--members", scenario.members.to_string()),
            ("--talkers", scenario.talkers.to_string()),
            ("--rate", scenario.rate.to_string()),
            ("--warm-up", load.warm_up.to_string()),
            ("--duration", load.seconds.to_string()),
            ("--threads", cpus.generator.len().to_string()),
        ] {
            command.args([name, &value]);
        }
        command.arg(target.listen.to_string());
        let process = start("wzp-client load", &command, &cpus.generator)?;
        Ok(Self { process })
    }

    /// The id of the generator's process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until its sessions have joined.
    ///
    /// # Errors
    /// It ends before.
    pub(crate) fn joined(&mut self) -> Result<()> {
        self.expect("joined", |event| matches!(event, Event::Joined).then_some(()))
    }

    /// Waits for the beginning of the measured time.
    ///
    /// # Errors
    /// It ends before.
    pub(crate) fn measuring(&mut self) -> Result<()> {
        self.expect("measuring", |event| matches!(event, Event::Measuring).then_some(()))
    }

    /// Waits for the end of the measured time.
    ///
    /// # Errors
    /// It ends before.
    pub(crate) fn measured(&mut self) -> Result<()> {
        self.expect("measured", |event| matches!(event, Event::Measured).then_some(()))
    }

    /// Waits for its report and its end.
    ///
    /// # Errors
    /// It brings none.
    pub(crate) fn report(mut self) -> Result<Report> {
        let report = self.expect("result", |event| match event {
            Event::Result(report) => Some(*report),
            _ => None,
        })?;
        // Its exit code says what is in the report: whether any were lost.
        self.process.wait(PATIENCE)?;
        Ok(report)
    }

    /// Whether all its sessions joined, for one that has nothing else to do.
    ///
    /// # Errors
    /// Not all did.
    pub(crate) fn joined_and_left(self) -> Result<()> {
        let report = self.report()?;
        let failures = report.join_failures;
        ensure!(failures.is_empty() && report.sessions > 0, "could not join: {failures:?}");
        Ok(())
    }

    fn expect<T>(&mut self, name: &str, take: impl Fn(Event) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(line) = self.process.next_line(deadline)? else {
                let status = self.process.wait(PATIENCE)?;
                bail!(
                    "the load generator ended ({status}) before it printed {name:?}:\n{}",
                    self.process.stderr()
                );
            };
            let event = serde_json::from_str(&line)
                .with_context(|| format!("the load generator printed {line:?}"))?;
            if let Some(found) = take(event) {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_generator() {
        let line = r#"{"event":"joined","sessions":100,"failed":0,"seconds":0.42}"#;
        assert!(matches!(serde_json::from_str(line).unwrap(), Event::Joined));
        let line = r#"{"event":"measuring"}"#;
        assert!(matches!(serde_json::from_str(line).unwrap(), Event::Measuring));
        let line = r#"{"event":"result","duration_s":10.0,"sessions":5,"frames_received":7,
            "join_failures":{"room_full":2},"latency_us":{"mean":1.5,"p50":null,"p99":310},
            "delivered_share":null,"saturated":true}"#;
        let Event::Result(report) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        assert_eq!((report.sessions, report.frames_received), (5, 7));
        assert_eq!(report.join_failures["room_full"], 2);
        assert_eq!((report.latency_us.p50, report.latency_us.p99), (None, Some(310.0)));
        assert!(report.saturated && report.delivered_share.is_none());
        assert!(serde_json::from_str::<Event>(r#"{"event":"surprise"}"#).is_err());
    }
}
