//! The panic hook: it counts, and has the log told by a thread of its own.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::{PanicHookInfo, set_hook};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;

use super::{Panic, Panics, attempt};
use crate::log::stderr_prefix;

/// The name of the thread that writes the lines.
const REPORTER: &str = "log-panics";

/// How long a thread that panics waits until its line is in the log's queue: the
/// process may be about to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Most of a panic's message, in bytes.
const MAX_MESSAGE: usize = 2048;

/// What the log is told of one.
struct Report {
    thread: String,
    place: String,
    message: String,
    backtrace: Backtrace,
}

/// Has panics counted and logged from now on. A thread whose name begins with one of
/// `parts` counts for that part, every other for the last of them.
///
/// # Errors
/// The system has no thread for it.
pub fn watch(parts: &'static [&'static str]) -> io::Result<Arc<Panics>> {
    let panics = Arc::new(Panics::new(parts));
    let (reports, given) = channel();
    thread::Builder::new().name(REPORTER.into()).spawn(move || report(&given))?;
    let counting = panics.clone();
    let prefix = stderr_prefix(Level::ERROR);
    set_hook(Box::new(move |info| counting.hear(info, &reports, prefix)));
    Ok(panics)
}

impl Panics {
    /// The panic hook. A panic in here would abort the process, so that the line is
    /// made by another thread.
    fn hear(
        &self,
        info: &PanicHookInfo<'_>,
        reports: &Sender<(Report, SyncSender<()>)>,
        prefix: &str,
    ) {
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        self.note(Panic { at: Instant::now(), thread: thread.clone() });
        let message = cut(info.payload_as_str().unwrap_or("without words"));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let plain = format!("{prefix}thread '{thread}' panicked at {place}: {message}\n");
        let is_reporter = thread == REPORTER;
        let report = Report { thread, place, message, backtrace: Backtrace::capture() };
        let (done, is_done) = sync_channel(1);
        let is_told = !is_reporter
            && reports.send((report, done)).is_ok()
            && is_done.recv_timeout(PATIENCE).is_ok();
        if !is_told {
            // Nobody is left to tell if that fails.
            let _ = io::Write::write_all(&mut io::stderr(), plain.as_bytes());
        }
    }
}

/// As much of the text as a line may have.
fn cut(text: &str) -> String {
    let end = (0..=MAX_MESSAGE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

fn report(given: &Receiver<(Report, SyncSender<()>)>) {
    for (Report { thread, place, message, backtrace }, done) in given {
        attempt(|| {
            let backtrace =
                (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
            // What fails may fail for every packet of a stranger.
            crate::limited!(
                PANIC,
                ERROR,
                per_minute(60),
                thread,
                place,
                panic = message,
                backtrace,
                "a thread panicked"
            );
        });
        // Whoever panicked waits no longer if that fails.
        let _ = done.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = format!("{}ж", "x".repeat(MAX_MESSAGE - 1));
        assert_eq!(cut(&long), "x".repeat(MAX_MESSAGE - 1));
    }
}
