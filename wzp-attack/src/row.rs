//! A line of the table in docs/security.md.

use std::time::Duration;

use crate::attack::Attack;
use crate::honest::Attempts;
use crate::trial::Outcome;

/// The table's head.
pub const HEAD: &str = "\
| attack | what is sent | what became of it | frames lost in two calls | p99 | newcomers | health | memory |
|---|---|---|---|---|---|---|---|";

/// The line of one attack.
pub fn of(attack: &Attack, outcome: &Outcome) -> String {
    let Outcome { sent, heard, newcomers, monitor, memory: (before, most), .. } = outcome;
    let p99 = heard.latency_us.p99.map_or("-".to_owned(), |us| format!("{:.1} ms", us / 1000.0));
    format!(
        "| {} | {} | {sent} | {} of {} | {p99} | {} | {} | {} to {} MiB |",
        attack.name,
        attack.sends,
        outcome.lost(),
        heard.frames_expected,
        attempts(newcomers),
        attempts(monitor),
        before >> 20,
        most >> 20,
    )
}

fn attempts(attempts: &Attempts) -> String {
    let Attempts { made, succeeded, slowest } = attempts;
    format!("{succeeded} of {made}, {} at most", millis(*slowest))
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}
