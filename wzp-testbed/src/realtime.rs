//! Real-time scheduling, as audio threads have it on real systems: a compiler
//! that runs beside a test must not make voice stumble.

use std::process::Command;

/// Gives this process real-time scheduling or takes it back. Children that are
/// started inherit it. False if it is not allowed to, or chrt (of util-linux)
/// is missing.
pub fn set(on: bool) -> bool {
    let (policy, priority) = if on { ("--rr", "1") } else { ("--other", "0") };
    let own = std::process::id().to_string();
    let mut chrt = Command::new("chrt");
    let done = chrt.args([policy, "--all-tasks", "--pid", priority, &own]).output();
    done.is_ok_and(|output| output.status.success())
}
