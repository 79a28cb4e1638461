//! Real-time scheduling, as audio threads have it on real systems: a compiler
//! that runs beside a test must not make voice stumble.

use std::process::Command;

/// Gives this process real-time scheduling or takes it back. Children that are
/// started inherit it. False if it is not allowed to, or chrt (of util-linux)
/// is missing.
pub fn set(on: bool) -> bool {
    set_for(std::process::id(), on)
}

/// The same for another process.
pub fn set_for(process: u32, on: bool) -> bool {
    let (policy, priority) = if on { ("--rr", "1") } else { ("--other", "0") };
    let mut chrt = Command::new("chrt");
    chrt.args([policy, "--all-tasks", "--pid", priority, &process.to_string()]);
    chrt.output().is_ok_and(|output| output.status.success())
}
