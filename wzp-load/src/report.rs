//! How a load went, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::json;

use super::failure::LoadFailure;
use super::options::LoadOptions;
use super::tally::Tally;
use super::{Measured, Progress};
use wzp_command::terminal::Terminal;
use wzp_command::thousandths;

/// Above this share of the time a thread has no reserve: what it measures is
/// itself.
const BUSY: f64 = 0.9;

/// The result. Field names are part of the interface.
#[derive(Debug, Serialize)]
struct Outcome {
    event: &'static str,
    rooms: u32,
    members: u32,
    talkers: u32,
    rate: f64,
    frame_bytes: usize,
    /// As it was measured.
    duration_s: f64,
    /// Those that joined.
    sessions: u64,
    /// Sessions that did not join, by reason.
    join_failures: BTreeMap<String, u64>,
    /// Those that ended before the end, by reason.
    sessions_lost: BTreeMap<String, u64>,
    /// From opening a socket to the end of the relay's member list.
    join_ms: JoinTimes,
    joins_per_second: f64,
    /// In the measured time, as everything that follows.
    frames_sent: u64,
    /// For each frame sent, the other members of the room.
    frames_expected: u64,
    frames_received: u64,
    delivered_share: f64,
    duplicates: u64,
    reordered: u64,
    /// From sending to receiving, both in this process.
    latency_us: Latency,
    /// Of each session that was to receive frames.
    session_loss_pct: Loss,
    /// UDP datagrams, by QUIC's own statistics.
    packets_sent: u64,
    packets_received: u64,
    /// Packets that only acknowledge count as well.
    frames_per_packet: f64,
    /// Of this process.
    cpu_s: f64,
    threads: usize,
    /// How late talkers' clocks fired.
    lag_us: Lag,
    /// Whether the load generator was the limit.
    saturated: bool,
}

#[derive(Debug, Serialize)]
struct JoinTimes {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Loss {
    p50: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Lag {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Outcome {
    fn new(options: &LoadOptions, progress: &Progress, tally: &Tally) -> Self {
        let Measured { duration, cpu } = progress.measured.unwrap_or_default();
        let delivery = tally.delivery();
        let sessions = tally.sessions.len() as u64;
        let lag = Lag {
            p50: micros(&tally.lag, 0.5),
            p99: micros(&tally.lag, 0.99),
            max: micros(&tally.lag, 1.0),
        };
        let traffic = tally.traffic;
        Self {
            event: "result",
            rooms: options.rooms,
            members: options.members,
            talkers: options.talkers(),
            rate: options.rate,
            frame_bytes: options.frame_bytes,
            duration_s: thousandths(duration.as_secs_f64()),
            sessions,
            join_failures: tally.join_failures.counts(),
            sessions_lost: tally.sessions_lost.counts(),
            join_ms: JoinTimes {
                p50: millis(&tally.join, 0.5),
                p90: millis(&tally.join, 0.9),
                p99: millis(&tally.join, 0.99),
                max: millis(&tally.join, 1.0),
            },
            joins_per_second: joins_per_second(progress),
            frames_sent: delivery.sent,
            frames_expected: delivery.expected,
            frames_received: delivery.received,
            delivered_share: ratio(delivery.received, delivery.expected),
            duplicates: delivery.duplicates,
            reordered: delivery.reordered,
            latency_us: Latency {
                mean: thousandths(tally.latency.mean() / 1e3),
                p50: micros(&tally.latency, 0.5),
                p90: micros(&tally.latency, 0.9),
                p99: micros(&tally.latency, 0.99),
                p999: micros(&tally.latency, 0.999),
                max: micros(&tally.latency, 1.0),
            },
            session_loss_pct: Loss {
                p50: nearest_rank(&delivery.loss_pct, 0.5),
                p99: nearest_rank(&delivery.loss_pct, 0.99),
                max: nearest_rank(&delivery.loss_pct, 1.0),
            },
            packets_sent: traffic.packets_sent,
            packets_received: traffic.packets_received,
            frames_per_packet: thousandths(ratio(
                traffic.frames_received,
                traffic.packets_received,
            )),
            cpu_s: thousandths(cpu.as_secs_f64()),
            threads: options.threads,
            saturated: tally.busy > BUSY || lag.p99 > 1e6 / options.rate,
            lag_us: lag,
        }
    }
}

fn joins_per_second(progress: &Progress) -> f64 {
    let joining = progress.joining.unwrap_or_default().as_secs_f64();
    if joining > 0.0 { thousandths(progress.joined as f64 / joining) } else { 0.0 }
}

/// Zero if there is nothing to have a part of.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn micros(nanos: &Histogram<u64>, quantile: f64) -> f64 {
    thousandths(nanos.value_at_quantile(quantile) as f64 / 1e3)
}

fn millis(nanos: &Histogram<u64>, quantile: f64) -> f64 {
    thousandths(nanos.value_at_quantile(quantile) as f64 / 1e6)
}

/// The smallest value that is not below that share of them; zero if there are
/// none. They must be sorted.
fn nearest_rank(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().map_or(0.0, thousandths)
}

/// Tells what happens.
pub(super) struct Printer {
    options: LoadOptions,
    terminal: Terminal,
}

impl Printer {
    pub(super) fn new(options: &LoadOptions, terminal: Terminal) -> Self {
        Self { options: options.clone(), terminal }
    }

    pub(super) fn joined(&self, progress: &Progress) {
        let seconds = progress.joining.unwrap_or_default().as_secs_f64();
        let Progress { joined, failed, .. } = *progress;
        if self.options.json {
            let per_second = joins_per_second(progress);
            self.terminal.json(&json!({
                "event": "joined", "sessions": joined, "failed": failed,
                "seconds": thousandths(seconds), "joins_per_second": per_second,
            }));
        } else {
            self.terminal.event(format_args!("{joined} sessions joined in {seconds:.2} s"));
            if failed > 0 {
                self.terminal.warning(format_args!("{failed} sessions did not join"));
            }
            let warm_up = self.options.warm_up;
            if warm_up > Duration::ZERO {
                self.terminal.event(format_args!("warming up for {} s", warm_up.as_secs_f64()));
            }
        }
    }

    pub(super) fn measuring(&self) {
        if self.options.json {
            self.terminal.json(&json!({ "event": "measuring" }));
        } else {
            let seconds = self.options.duration.as_secs_f64();
            self.terminal.event(format_args!("measuring for {seconds} s"));
        }
    }

    pub(super) fn measured(&self) {
        if self.options.json {
            self.terminal.json(&json!({ "event": "measured" }));
        }
    }

    pub(super) fn result(&self, progress: &Progress, tally: &Tally) {
        let outcome = Outcome::new(&self.options, progress, tally);
        if tally.refused > 0 {
            self.terminal.warning(format_args!(
                "the relay says that it dropped {} frames for a limit of its own; see [limits] \
                 in its configuration",
                tally.refused
            ));
        }
        if tally.foreign > 0 {
            self.terminal.warning(format_args!(
                "{} frames were heard that this load did not send: somebody else is in its \
                 rooms; give each generator another --room-prefix",
                tally.foreign
            ));
        }
        if self.options.json {
            self.terminal.json(&outcome);
        } else {
            self.terminal.result(outcome);
        }
    }
}

/// Error unless every session joined and stayed.
pub(super) fn verdict(tally: &Tally) -> Result<(), LoadFailure> {
    let joined = tally.sessions.len() as u64;
    let failed = tally.join_failures.total();
    let lost = tally.sessions_lost.total();
    if let Some(exit) = tally.join_failures.exit() {
        let reasons = listed(&tally.join_failures.counts());
        let sessions = joined + failed;
        return Err(LoadFailure::NotAllJoined { failed, sessions, reasons, exit });
    }
    if lost > 0 {
        let reasons = listed(&tally.sessions_lost.counts());
        return Err(LoadFailure::SessionsLost { lost, sessions: joined, reasons });
    }
    Ok(())
}

fn listed(reasons: &BTreeMap<String, u64>) -> String {
    let each: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    each.join("; ")
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { join_ms, latency_us, session_loss_pct, lag_us, .. } = self;
        let ms = |micros: f64| micros / 1e3;
        let mut row = |name: &str, text: fmt::Arguments<'_>| writeln!(f, "{name:<11}{text}");
        row(
            "load",
            format_args!(
                "{} rooms x {} members, {} talkers each, {} frames/s of {} bytes",
                self.rooms, self.members, self.talkers, self.rate, self.frame_bytes
            ),
        )?;
        row(
            "sessions",
            format_args!("{} joined, {:.0} a second", self.sessions, self.joins_per_second),
        )?;
        for (what, reasons) in [("not joined", &self.join_failures), ("lost", &self.sessions_lost)]
        {
            for (reason, count) in reasons {
                row("", format_args!("{count} {what}: {reason}"))?;
            }
        }
        row(
            "joining",
            format_args!(
                "p50 {:.1} ms, p90 {:.1}, p99 {:.1}, max {:.1}",
                join_ms.p50, join_ms.p90, join_ms.p99, join_ms.max
            ),
        )?;
        row("measured", format_args!("{:.1} s", self.duration_s))?;
        if self.frames_sent > 0 {
            row(
                "frames",
                format_args!(
                    "{} sent, {} of {} delivered ({:.4} %), {} twice, {} out of order",
                    self.frames_sent,
                    self.frames_received,
                    self.frames_expected,
                    self.delivered_share * 100.0,
                    self.duplicates,
                    self.reordered
                ),
            )?;
            row(
                "loss",
                format_args!(
                    "per session: p50 {} %, p99 {} %, max {} %",
                    session_loss_pct.p50, session_loss_pct.p99, session_loss_pct.max
                ),
            )?;
            row(
                "latency",
                format_args!(
                    "mean {:.2} ms, p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
                    ms(latency_us.mean),
                    ms(latency_us.p50),
                    ms(latency_us.p90),
                    ms(latency_us.p99),
                    ms(latency_us.p999),
                    ms(latency_us.max)
                ),
            )?;
        }
        row(
            "packets",
            format_args!(
                "{} sent, {} received, {:.2} frames in each",
                self.packets_sent, self.packets_received, self.frames_per_packet
            ),
        )?;
        row(
            "generator",
            format_args!(
                "{:.2} s of CPU in {} threads; talkers' clocks late by p50 {:.2} ms, p99 {:.2}, \
                 max {:.2}",
                self.cpu_s,
                self.threads,
                ms(lag_us.p50),
                ms(lag_us.p99),
                ms(lag_us.max)
            ),
        )?;
        f.write_str(if self.saturated {
            "           SATURATED: the load generator was the limit, not the relay; give it more \
             --threads or another machine"
        } else {
            "           not saturated: it was not the limit"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wzp_command::exit::Exit;

    #[test]
    fn ranks_are_those_of_real_sessions() {
        let hundred: Vec<_> = (1..=100).map(f64::from).collect();
        let cases = [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)];
        for (share, expected) in cases {
            assert_eq!(nearest_rank(&hundred, share), expected, "{share}");
            assert_eq!(nearest_rank(&[7.0], share), 7.0, "{share}");
            assert_eq!(nearest_rank(&[], share), 0.0, "{share}");
        }
    }

    #[test]
    fn failed_and_lost_sessions_are_errors_that_name_the_reasons() {
        let mut tally = Tally::default();
        assert!(verdict(&tally).is_ok());
        tally.sessions_lost.add("going_away".to_owned(), Exit::Lost);
        let failure = verdict(&tally).unwrap_err();
        assert_eq!(failure.exit(), Exit::Lost);
        assert!(failure.to_string().contains("1 going_away"), "{failure}");
        tally.join_failures.add("room_full".to_owned(), Exit::Refused);
        let failure = verdict(&tally).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert!(failure.to_string().contains("1 of 1 sessions did not join: 1 room_full"));
    }
}
