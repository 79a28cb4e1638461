//! Children that do not outlive this program, however it ends. Dropping what
//! holds a child ends it too, but a program that is killed drops nothing.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// What [`exec`] takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The process to end with.
    parent: i32,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// `command` in a process that the kernel kills when the thread that starts it
/// is gone. The process is the program itself: signals reach it. Variables and
/// the working directory of `command` are not taken over.
pub(crate) fn bound(command: &Command) -> Result<Command> {
    let this = std::env::current_exe().context("this program has no path")?;
    let mut bound = Command::new(this);
    bound.args(["bound", &std::process::id().to_string(), "--"]);
    bound.arg(command.get_program()).args(command.get_args());
    Ok(bound)
}

/// Becomes the program of `options`; the child's half of [`bound`].
pub(crate) fn exec(options: &Options) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot bind to the parent")?;
    // The parent may have ended before the kernel was told to watch it.
    let parent = getppid().map(Pid::as_raw_pid);
    ensure!(parent == Some(options.parent), "process {} is not the parent", options.parent);
    let [program, arguments @ ..] = &options.command[..] else { unreachable!("required") };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
