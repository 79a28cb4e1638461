//! Panics, of whatever thread or task: none is silent. Each is counted and becomes one
//! line of the log, and who cares for health can ask for the last one.
//!
//! What becomes of the thread or task is up to who started it: see [`supervised`] and
//! [`attempt`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

/// The name of the thread that writes the lines.
const REPORTER: &str = "log-panics";

/// How long a thread that panics waits until its line is in the log's queue: the
/// process may be about to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Most of a panic's message, in bytes.
const MAX_MESSAGE: usize = 2048;

/// What failed may fail again at once; it must not take the whole machine.
const PAUSE: Duration = Duration::from_secs(1);

/// The panics of this process.
#[derive(Debug)]
pub struct Panics {
    /// First words of threads' names. All other threads belong to the last one.
    parts: &'static [&'static str],
    counts: Box<[AtomicU64]>,
    last: Mutex<Option<Panic>>,
}

/// One panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// When it was.
    pub at: Instant,
    /// The name of the thread.
    pub thread: String,
}

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
    set_hook(Box::new(move |info| counting.hear(info, &reports)));
    Ok(panics)
}

impl Panics {
    /// None so far.
    pub fn new(parts: &'static [&'static str]) -> Self {
        let counts = parts.iter().map(|_| AtomicU64::new(0)).collect();
        Self { parts, counts, last: Mutex::default() }
    }

    /// Each part with how many panics it had.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.parts.iter().copied().zip(counts)
    }

    /// The last one.
    pub fn last(&self) -> Option<Panic> {
        // It is replaced whole, so a panic elsewhere is no harm.
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes one into account.
    pub fn note(&self, panic: Panic) {
        let of = |part: &&str| panic.thread.starts_with(*part);
        let part = self.parts.iter().position(of).unwrap_or(self.parts.len() - 1);
        self.counts[part].fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
    }

    /// The panic hook. A panic in here would abort the process, so that the line is
    /// made by another thread.
    fn hear(&self, info: &PanicHookInfo<'_>, reports: &Sender<(Report, SyncSender<()>)>) {
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        self.note(Panic { at: Instant::now(), thread: thread.clone() });
        let message = cut(info.payload_as_str().unwrap_or("without words"));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let plain = format!("thread '{thread}' panicked at {place}: {message}\n");
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

/// Does a piece of a thread's work, which is left undone where it panics. Whether it
/// was done.
pub fn attempt(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}

/// Runs a task of the control plane, and begins it again a second after a panic.
pub async fn supervised<F: Future>(mut task: impl FnMut() -> F) -> F::Output {
    loop {
        match AssertUnwindSafe(task()).catch_unwind().await {
            Ok(result) => return result,
            // The hook has told of it.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_counts_for_the_part_that_its_thread_belongs_to() {
        let panics = Panics::new(&["shard", "log", "control"]);
        assert_eq!(panics.last(), None);
        for thread in ["shard-0", "shard-17", "log", "log-backups", "main", "tokio-rt-worker", ""] {
            panics.note(Panic { at: Instant::now(), thread: thread.to_owned() });
        }
        let counts: Vec<_> = panics.counts().collect();
        assert_eq!(counts, [("shard", 2), ("log", 2), ("control", 3)]);
        assert_eq!(panics.last().unwrap().thread, "");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = format!("{}ж", "x".repeat(MAX_MESSAGE - 1));
        assert_eq!(cut(&long), "x".repeat(MAX_MESSAGE - 1));
    }
}
