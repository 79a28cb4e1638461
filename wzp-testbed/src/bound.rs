//! Children that do not outlive this program, however it ends. Dropping what
//! holds a child ends it too, but a program that is killed drops nothing.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The hidden command of a program that uses [`bound`]; it hands what comes behind
/// it to [`exec`].
pub const COMMAND: &str = "bound";

/// `command` in a process that the kernel kills when the thread that starts it
/// is gone. The process is the program itself: signals reach it. Variables and
/// the working directory of `command` are not taken over.
///
/// # Errors
/// This program has no path.
pub fn bound(command: &Command) -> Result<Command> {
    let this = std::env::current_exe().context("this program has no path")?;
    let mut bound = Command::new(this);
    bound.args([COMMAND, &std::process::id().to_string(), "--"]);
    bound.arg(command.get_program()).args(command.get_args());
    Ok(bound)
}

/// Becomes the program that `command` begins with; the child's half of [`bound`].
///
/// # Errors
/// The process `parent` is not the parent, or the program cannot be started.
pub fn exec(parent: i32, command: &[OsString]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot bind to the parent")?;
    // The parent may have ended before the kernel was told to watch it.
    let found = getppid().map(Pid::as_raw_pid);
    ensure!(found == Some(parent), "process {parent} is not the parent");
    let [program, arguments @ ..] = command else { bail!("there is no program to become") };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
