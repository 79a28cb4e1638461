//! What takes events, makes lines of them and writes them: by a thread, from a queue.

mod backups;
mod counts;
mod file;
mod filter;
mod journal;
mod json;
mod plain;
mod queue;
mod writer;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::lock::Mutex;
use crate::settings::{LogFormat, Logging};
use counts::Counts;
use queue::{Message, Queue};

pub use crate::layer::BoxedLayer;
pub use counts::LogCounts;
pub use journal::for_stderr;
pub(crate) use journal::stderr_prefix;

/// How long the end waits for lines to be written, a reload for its file, and a
/// flush for both.
const PATIENCE: Duration = Duration::from_secs(2);

/// The program's log. Lines that are still queued are written when it is dropped.
pub struct Log {
    queue: Queue,
    counts: Arc<Counts>,
    settings: Mutex<Logging>,
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<BoxedLayer, Registry>,
    /// Told when the writer has ended.
    ended: Mutex<Receiver<()>>,
}

/// Why the log cannot be as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `logging.file` cannot be opened, or made.
    #[error(
        "cannot open the log file {}: {error}; make its folder writable, or leave \
         logging.file out to log to standard error", path.display()
    )]
    Open {
        /// The file that the error is about.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// `logging.file` is a folder, a device or a pipe.
    #[error(
        "the log file {} is {what} and not a regular file; leave logging.file out to log to \
         standard error", path.display()
    )]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another process logs to the same file.
    #[error(
        "another process logs to {}; give each program a logging.file of its own",
        path.display()
    )]
    Taken {
        /// The file that the error is about.
        path: PathBuf,
    },
    /// A filter that cannot be read, given at run time or in RUST_LOG.
    #[error(
        "\"{text}\" is no log filter ({reason}); write \"debug\" or \"info,wzp::session=trace\""
    )]
    Filter {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No thread for the writer.
    #[error("cannot start a thread for the log: {0}")]
    Thread(io::Error),
    /// The process has a log already.
    #[error("this process has a log already")]
    Installed,
    /// The writer has ended, or waits for a disk or a terminal.
    #[error("the thread that writes the log does not answer")]
    Stuck,
}

/// Starts the process's log. `layers` see what the log's level hides, too.
///
/// # Errors
/// The file cannot be had, RUST_LOG cannot be read, or there is a log already.
pub fn start(settings: &Logging, layers: Vec<BoxedLayer>) -> Result<Log, LogError> {
    let (log, dispatch) = Log::new(settings, layers)?;
    dispatch.try_init().map_err(|_| LogError::Installed)?;
    Ok(log)
}

/// Whether [`start`] could start a log at this moment. Makes and changes nothing.
///
/// # Errors
/// The file cannot be had, or RUST_LOG cannot be read.
pub fn check(settings: &Logging) -> Result<(), LogError> {
    filter::initial(settings.level)?;
    settings.file.as_deref().map_or(Ok(()), file::LogFile::check)
}

/// Whether a log at `log` makes, renames or deletes files of that name in its folder: its
/// lock, and what it puts aside.
pub fn is_own(log: &Path, name: &OsStr) -> bool {
    file::is_own(log, name)
}

impl Log {
    /// A log and what feeds it, which is not the process's own yet.
    ///
    /// # Errors
    /// The file cannot be had, or RUST_LOG cannot be read.
    pub fn new(
        settings: &Logging,
        mut layers: Vec<BoxedLayer>,
    ) -> Result<(Self, Dispatch), LogError> {
        let (filter, filter_handle) = reload::Layer::new(filter::initial(settings.level)?);
        let counts = Arc::new(Counts::default());
        let (queue, ended) = writer::start(settings, &counts)?;
        let (lines, lines_handle) = reload::Layer::new(lines(settings, &queue));
        layers.push(lines.with_filter(filter).boxed());
        let log = Self {
            queue,
            counts,
            settings: Mutex::new(settings.clone()),
            filter: filter_handle,
            lines: lines_handle,
            ended: Mutex::new(ended),
        };
        Ok((log, Dispatch::new(tracing_subscriber::registry().with(layers))))
    }

    /// Changes what is logged from now on: a level, or directives as in
    /// RUST_LOG. [`Self::apply`] with another level goes back to the settings.
    ///
    /// # Errors
    /// It cannot be read; the old filter stays.
    pub fn set_filter(&self, text: &str) -> Result<(), LogError> {
        self.replace_filter(filter::given(text)?);
        Ok(())
    }

    /// What is logged now, as directives.
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Takes on new settings, as after SIGHUP. What [`Self::set_filter`] chose stays
    /// unless the level is another one. The file is opened again as in
    /// [`Self::reopen`]. RUST_LOG still wins over the level.
    ///
    /// # Errors
    /// The new file cannot be had; all stays as it was.
    pub fn apply(&self, settings: &Logging) -> Result<(), LogError> {
        let filter = filter::initial(settings.level)?;
        let mut current = self.settings.lock();
        self.ask(|answer| Message::Apply(settings.clone(), answer)).inspect_err(|_| {
            // A writer that comes to life again must not follow what was refused.
            self.queue.tell(Message::Apply(current.clone(), sync_channel(1).0));
        })??;
        if current.level != settings.level {
            self.replace_filter(filter);
        }
        if (current.format, &current.file) != (settings.format, &settings.file) {
            // Fails only when the subscriber is gone, and with it all lines.
            let _ = self.lines.reload(lines(settings, &self.queue));
        }
        current.clone_from(settings);
        Ok(())
    }

    /// Opens the file again if it was moved or deleted, as logrotate wants after
    /// it has renamed the file. Lines logged before go to the old one.
    ///
    /// # Errors
    /// It cannot be opened. Lines go to standard error until it can.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.ask(Message::Reopen)?
    }

    /// Waits until what was logged before is written, at most two seconds.
    ///
    /// # Errors
    /// It took longer.
    pub fn flush(&self) -> Result<(), LogError> {
        self.ask(Message::Flush)
    }

    /// What was written, dropped and gone wrong since the start.
    pub fn counts(&self) -> LogCounts {
        self.counts.reading()
    }

    /// A closure that reads the counts for as long as anybody wants to.
    pub fn reader(&self) -> impl Fn() -> LogCounts + Send + Sync + 'static + use<> {
        let counts = self.counts.clone();
        move || counts.reading()
    }

    fn replace_filter(&self, filter: EnvFilter) {
        // Fails only when the subscriber is gone, and with it all lines.
        let _ = self.filter.reload(filter);
    }

    fn ask<T>(&self, message: impl FnOnce(SyncSender<T>) -> Message) -> Result<T, LogError> {
        let (answer, answered) = sync_channel(1);
        self.queue.tell(message(answer));
        answered.recv_timeout(PATIENCE).map_err(|_| LogError::Stuck)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.tell(Message::End);
        let ended = self.ended.lock();
        // A terminal that takes nothing must not keep the program from ending.
        let _ = ended.recv_timeout(PATIENCE);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Makes lines of events, in the form that was asked for.
fn lines(settings: &Logging, queue: &Queue) -> BoxedLayer {
    let layer = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    match settings.format {
        LogFormat::Json => layer.event_format(json::Lines).fmt_fields(json::Members).boxed(),
        LogFormat::Plain => {
            let colours = settings.file.is_none() && io::stderr().is_terminal();
            layer.with_ansi(colours).fmt_fields(plain::Fields).boxed()
        }
    }
}
