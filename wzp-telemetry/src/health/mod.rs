//! Whether a program is well, and whether work may be sent to it.
//!
//! Two questions with two consequences. Who watches for life restarts what is
//! [`Status::Unhealthy`], so that is only what a restart helps against. Who
//! sends work looks elsewhere while a program is not ready. Neither may depend
//! on another service: its failure must not restart or empty all that use it.

mod checks;
mod storage;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

pub use checks::memory;
pub use storage::Storage;

/// Who can tell how a program is.
pub trait Health: Send + Sync + 'static {
    /// Looks. May block a little; not called from an async task.
    fn report(&self) -> Report;
}

/// Where a program is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not everything runs yet.
    Starting,
    /// It does its work.
    Serving,
    /// It takes nothing new in and ends when what is there has ended.
    Draining,
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// An operator should know.
    Degraded,
    /// No new work can be taken on.
    NotReady,
    /// A restart is what helps.
    Unhealthy,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is called in `checks`.
    pub name: &'static str,
    /// What is wrong and with what consequence; `None` if nothing is.
    pub problem: Option<(Consequence, String)>,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str) -> Self {
        Self { name, problem: None }
    }

    /// Something is wrong: `reason` says what, for an operator.
    pub fn failed(name: &'static str, consequence: Consequence, reason: impl Into<String>) -> Self {
        Self { name, problem: Some((consequence, reason.into())) }
    }
}

/// `status`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Healthy,
    /// It works, but a check failed.
    Degraded,
    /// It ends when what is there has ended.
    Draining,
    /// Not everything runs yet.
    Starting,
    /// A restart is what helps.
    Unhealthy,
}

impl Status {
    /// As the body has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How a program is.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it is in its life.
    pub phase: Phase,
    /// Time since it started.
    pub uptime_seconds: u64,
    /// Whom it serves now.
    pub connections: u64,
    /// File transfers that go on.
    pub transfers_active: u64,
    /// Programs of its own kind that it is in touch with.
    pub peers: u64,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl Report {
    fn worst(&self) -> Option<Consequence> {
        self.checks.iter().filter_map(|check| check.problem.as_ref()).map(|(c, _)| *c).max()
    }

    /// In one word.
    pub fn status(&self) -> Status {
        match (self.worst(), self.phase) {
            (Some(Consequence::Unhealthy), _) => Status::Unhealthy,
            (_, Phase::Starting) => Status::Starting,
            (_, Phase::Draining) => Status::Draining,
            (Some(_), Phase::Serving) => Status::Degraded,
            (None, Phase::Serving) => Status::Healthy,
        }
    }

    /// Whether it is to be left running.
    pub fn is_live(&self) -> bool {
        self.status() != Status::Unhealthy
    }

    /// Why no work should be sent to it; `None`: it is ready.
    pub fn not_ready(&self) -> Option<&str> {
        let problems = self.checks.iter().filter_map(|check| check.problem.as_ref());
        let mut reasons = problems.filter(|(consequence, _)| *consequence >= Consequence::NotReady);
        match self.phase {
            Phase::Starting => Some("it is starting"),
            Phase::Draining => Some("it is draining"),
            Phase::Serving => reasons.next().map(|(_, reason)| reason.as_str()),
        }
    }

    /// What the health report shows.
    pub fn body<'a>(&'a self, version: &'a str) -> impl Serialize {
        let checks = self.checks.iter().map(|check| {
            let outcome = check.problem.as_ref().map_or("ok", |(_, reason)| reason);
            (check.name, outcome)
        });
        Body {
            status: self.status(),
            version,
            uptime_seconds: self.uptime_seconds,
            connections: self.connections,
            transfers_active: self.transfers_active,
            peers: self.peers,
            checks: checks.collect(),
        }
    }

    /// The body of `/ready`.
    pub fn readiness(&self) -> Value {
        match self.not_ready() {
            None => json!({ "ready": true }),
            Some(reason) => json!({ "ready": false, "reason": reason }),
        }
    }
}

/// The body of the health report, in the order of the monitoring guide.
#[derive(Serialize)]
struct Body<'a> {
    status: Status,
    version: &'a str,
    uptime_seconds: u64,
    connections: u64,
    transfers_active: u64,
    peers: u64,
    checks: BTreeMap<&'a str, &'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(phase: Phase, problems: &[Consequence]) -> Report {
        let mut checks = vec![Check::ok("network")];
        checks.extend(problems.iter().map(|c| Check::failed("storage", *c, format!("{c:?}"))));
        Report {
            phase,
            uptime_seconds: 3600,
            connections: 42,
            transfers_active: 0,
            peers: 0,
            checks,
        }
    }

    #[test]
    fn phase_and_worst_check_make_the_status() {
        use Consequence::{Degraded, NotReady, Unhealthy};
        use Phase::{Draining, Serving, Starting};
        let cases: [(Phase, &[Consequence], Status, bool, bool); 10] = [
            (Serving, &[], Status::Healthy, true, true),
            (Serving, &[Degraded], Status::Degraded, true, true),
            (Serving, &[Degraded, NotReady], Status::Degraded, true, false),
            (Serving, &[Unhealthy, Degraded], Status::Unhealthy, false, false),
            (Starting, &[], Status::Starting, true, false),
            (Starting, &[Degraded], Status::Starting, true, false),
            (Starting, &[Unhealthy], Status::Unhealthy, false, false),
            (Draining, &[], Status::Draining, true, false),
            (Draining, &[NotReady], Status::Draining, true, false),
            (Draining, &[Unhealthy], Status::Unhealthy, false, false),
        ];
        for (phase, problems, status, live, ready) in cases {
            let report = report(phase, problems);
            let told = (report.status(), report.is_live(), report.not_ready().is_none());
            assert_eq!(told, (status, live, ready), "{phase:?} {problems:?}");
            assert_eq!(report.readiness()["ready"], ready);
        }
    }

    #[test]
    fn the_body_has_the_keys_of_the_monitoring_guide() {
        let report = report(Phase::Serving, &[Consequence::NotReady]);
        let body = serde_json::to_string(&report.body("0.8.0")).unwrap();
        let expected = r#"{"status":"degraded","version":"0.8.0","uptime_seconds":3600,"connections":42,"transfers_active":0,"peers":0,"checks":{"network":"ok","storage":"NotReady"}}"#;
        assert_eq!(body, expected);
    }
}
