//! The programs that are measured, and where they run.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use wzp_testbed::netns::Namespace;

/// The programs that were built.
#[derive(Debug)]
pub(crate) struct Programs {
    /// This project's relay.
    pub(crate) relay: PathBuf,
    /// The naive one.
    pub(crate) naive: PathBuf,
    /// The client, which generates the load.
    pub(crate) client: PathBuf,
}

/// A command that will run there.
pub(crate) fn inside(namespace: Option<&Namespace>, program: impl AsRef<OsStr>) -> Command {
    match namespace {
        Some(namespace) => namespace.command(program),
        None => Command::new(program),
    }
}
