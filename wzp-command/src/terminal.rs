//! What people see: events and warnings on standard error, the progress line
//! that is rewritten in place below them, the summary on standard output.
//!
//! Text from the network never reaches a terminal as it came.
//! A closed pipe is not an error: whoever closed it does not want the text.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use wzp_untrusted::{json, text};

/// Whether the cursor stands behind a progress line. One per process, as there
/// is one standard error that logs and events share.
static LINE_SHOWN: AtomicBool = AtomicBool::new(false);

/// The first refusal of standard output, which is one, too.
static REFUSED: OnceLock<io::Error> = OnceLock::new();

/// Carriage return, then erase to the end of the line (ECMA-48 EL).
const ERASE_LINE: &[u8] = b"\r\x1b[K";

/// Standard error for whole lines: wipes the progress line before them.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        wipe_progress()?;
        io::stderr().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn wipe_progress() -> io::Result<()> {
    if LINE_SHOWN.swap(false, Ordering::Relaxed) {
        io::stderr().write_all(ERASE_LINE)?;
    }
    Ok(())
}

/// How much the user wants to see.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    quiet: bool,
    progress: bool,
}

impl Terminal {
    /// Without `quiet`, events are printed, and progress if standard error is
    /// a terminal.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, progress: !quiet && io::stderr().is_terminal() }
    }

    /// Something happened that a user may like to know.
    pub fn event(self, text: impl fmt::Display) {
        if !self.quiet {
            line(format_args!("{text}"));
        }
    }

    /// The result, where standard output is taken.
    pub fn result_aside(self, text: impl fmt::Display) {
        if !self.quiet {
            text.to_string().lines().for_each(|text| line(format_args!("{text}")));
        }
    }

    /// Something is not as it should be.
    pub fn warning(self, text: impl fmt::Display) {
        line(format_args!("warning: {text}"));
    }

    /// The end of what was to be done, without success.
    pub fn error(self, text: impl fmt::Display) {
        line(format_args!("error: {text}"));
    }

    /// Whether anyone looks at the progress line.
    pub const fn shows_progress(self) -> bool {
        self.progress
    }

    /// Replaces the progress line.
    pub fn progress(self, text: impl fmt::Display) {
        let mut stderr = io::stderr().lock();
        let text = format!("\r{text}\x1b[K");
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        LINE_SHOWN.store(true, Ordering::Relaxed);
    }

    /// The result, for whoever asked for it.
    pub fn result(self, text: impl fmt::Display) {
        print(&text::lines(&text.to_string()));
    }

    /// The same for a program, as one line of JSON.
    pub fn json(self, value: &impl Serialize) {
        print(&json::to_string(value).expect("numbers and strings are always JSON"));
    }
}

fn print(text: &impl fmt::Display) {
    let _ = wipe_progress();
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = REFUSED.set(error);
    }
}

/// Why standard output did not take what was printed, if so: a full disk must not
/// pass for success.
pub fn refused() -> Option<&'static io::Error> {
    REFUSED.get()
}

/// One write per line, so that lines of several processes stay whole.
fn line(text: fmt::Arguments<'_>) {
    let _ = Stderr.write_all(format!("{}\n", text::line(&text.to_string())).as_bytes());
}
