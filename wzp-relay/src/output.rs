//! What a command prints. Whoever started it may have given it a disk that is full, or a
//! pipe that nobody reads any more.

use std::io::{self, IsTerminal, StdoutLock, Write};
use std::os::fd::{AsFd, BorrowedFd};

use tracing::Level;
use wzp_telemetry::log;

/// Standard output. An error says that it is about it: alone, "no space left on device"
/// would be taken for one of the relay's own files.
#[derive(Debug)]
pub struct Output(StdoutLock<'static>);

impl Output {
    /// The standard output of this process.
    pub fn new() -> Self {
        Self(io::stdout().lock())
    }

    /// Whether somebody looks at it.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

fn named(error: io::Error) -> io::Error {
    match error.kind() {
        // Whoever writes all of it tries again, and must know this by its kind.
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, format!("cannot write to standard output: {error}")),
    }
}

/// Says something on standard error. If that does not take it, nobody can be told.
pub fn tell(level: Level, text: &str) {
    let _ = io::stderr().write_all(log::for_stderr(level, text).as_bytes());
}
