//! The thread that writes lines, and the one that looks after files put aside.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use tracing::{error, warn};

use super::LogError;
use super::backups::{Backups, Keep};
use super::counts::{Counts, add};
use super::file::{LogFile, Written};
use super::journal;
use super::queue::{self, Line, Lines, Message, Queue};
use crate::attempt::attempt;
use crate::log::target;
use crate::settings::Logging;

/// How often files that have become too old are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// Starts the writer, with the file if there is to be one. The receiver is told
/// when it has ended.
pub(super) fn start(
    settings: &Logging,
    counts: &Arc<Counts>,
) -> Result<(Queue, Receiver<()>), LogError> {
    let (queue, lines) = queue::new(counts);
    let (end, ended) = sync_channel(1);
    let mut writer = Writer {
        file: None,
        keeper: Keeper::start(counts)?,
        to_journal: journal::is_stderr(),
        diverted: 0,
        counts: counts.clone(),
    };
    writer.apply(settings)?;
    thread::Builder::new()
        .name("log".into())
        .spawn(move || {
            // A line that cannot be written must not cost the lines after it.
            while !attempt(|| writer.run(&lines)) {}
            drop(writer);
            let _ = end.send(());
        })
        .map_err(LogError::Thread)?;
    Ok((queue, ended))
}

struct Writer {
    /// Ends before the file, whose lock is let go only when nobody works on what
    /// was put aside.
    keeper: Keeper,
    /// None: standard error.
    file: Option<LogFile>,
    /// Whether standard error leads to the journal.
    to_journal: bool,
    /// Lines that went to standard error since the file could last be written.
    diverted: u64,
    counts: Arc<Counts>,
}

impl Writer {
    fn run(&mut self, lines: &Lines) {
        loop {
            let message = match self.file.as_ref().and_then(LogFile::waits_until) {
                Some(at) => {
                    lines.messages.recv_timeout(at.saturating_duration_since(Instant::now()))
                }
                None => lines.messages.recv().map_err(Into::into),
            };
            match message {
                Ok(Message::Line(line)) => {
                    lines.done(&line);
                    self.write(&line);
                }
                Ok(Message::Apply(settings, answer)) => {
                    let _ = answer.send(self.apply(&settings));
                }
                Ok(Message::Reopen(answer)) => {
                    let _ = answer.send(self.reopen());
                }
                Ok(Message::Flush(answer)) => {
                    let _ = answer.send(());
                }
                // In a quiet hour there is no line to try the file with.
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.reopen();
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn apply(&mut self, settings: &Logging) -> Result<(), LogError> {
        let Some(path) = &settings.file else {
            self.file = None;
            return Ok(());
        };
        let max_size = settings.max_size.as_u64();
        match &mut self.file {
            Some(file) if file.named() == path => {
                file.reopen()?;
                file.set_max_size(max_size);
            }
            other => *other = Some(LogFile::open(path, max_size)?),
        }
        self.keeper.keep(Keep {
            count: Some(settings.max_backups).filter(|count| *count > 0),
            age: Some(settings.max_age).filter(|age| !age.is_zero()),
            compressed: settings.compress,
        });
        self.tidy();
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), LogError> {
        let result = self.file.as_mut().map_or(Ok(()), LogFile::reopen);
        add(&self.counts.errors, result.is_err().into());
        result
    }

    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return self.write_to_stderr(line) };
        if file.waits_until().is_some_and(|at| at > Instant::now()) {
            return self.divert(line);
        }
        match file.write(&line.text) {
            Ok(written) => {
                self.count(&line.text);
                match written {
                    Written::Here => {}
                    Written::Rotated => {
                        add(&self.counts.rotations, 1);
                        self.tidy();
                    }
                    Written::TooLarge(reason) => {
                        add(&self.counts.errors, 1);
                        crate::limited!(
                            LOG,
                            WARN,
                            per_minute(1),
                            reason,
                            "the log file grows beyond its size"
                        );
                    }
                }
                self.has_recovered();
            }
            Err(problem) => {
                add(&self.counts.errors, 1);
                if self.diverted == 0 {
                    let path = file.named().display().to_string();
                    // This line comes back to this thread, and goes to standard error.
                    error!(target: target::LOG, path, error = %problem, "the log file cannot be written; \
                           lines go to standard error, and it is tried again every 5 s");
                }
                self.divert(line);
            }
        }
    }

    fn divert(&mut self, line: &Line) {
        self.diverted += 1;
        add(&self.counts.diverted, 1);
        self.write_to_stderr(line);
    }

    fn write_to_stderr(&mut self, line: &Line) {
        let mut bytes = Cow::from(&*line.text);
        if self.to_journal {
            // In one piece: other threads may write there, too.
            bytes = [journal::prefix(line.level).as_bytes(), &line.text].concat().into();
        }
        match std::io::stderr().write_all(&bytes) {
            Ok(()) => self.count(&line.text),
            Err(_) => add(&self.counts.dropped_output, 1),
        }
    }

    fn count(&self, line: &[u8]) {
        add(&self.counts.lines, 1);
        add(&self.counts.bytes, line.len());
    }

    fn has_recovered(&mut self) {
        let lines = std::mem::take(&mut self.diverted);
        if lines > 0 {
            warn!(target: target::LOG, lines, "the log file can be written again; these went to standard error");
        }
    }

    fn tidy(&self) {
        if let Some(file) = &self.file {
            self.keeper.tidy(file.backups());
        }
    }
}

/// Compresses and deletes files that were put aside, in a thread of its own.
struct Keeper {
    orders: Option<Sender<(Backups, Keep)>>,
    keep: Keep,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(counts: &Arc<Counts>) -> Result<Self, LogError> {
        let (orders, given) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, counts) = (stop.clone(), counts.clone());
        let thread = thread::Builder::new()
            .name("log-backups".into())
            .spawn(move || tidy_on_order(&given, &stopped, &counts))
            .map_err(LogError::Thread)?;
        let keep = Keep { count: None, age: None, compressed: false };
        Ok(Self { orders: Some(orders), keep, stop, thread: Some(thread) })
    }

    fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    fn tidy(&self, backups: &Backups) {
        if let Some(orders) = &self.orders {
            let _ = orders.send((backups.clone(), self.keep));
        }
    }
}

impl Drop for Keeper {
    /// Waits for the thread.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tidy_on_order(orders: &Receiver<(Backups, Keep)>, stop: &AtomicBool, counts: &Counts) {
    let mut last = None;
    loop {
        match orders.recv_timeout(SWEEP) {
            Ok(order) => last = orders.try_iter().last().or(Some(order)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some((backups, keep)) = &last else { continue };
        attempt(|| {
            if let Err(problem) = backups.tidy(*keep, SystemTime::now(), stop) {
                add(&counts.errors, 1);
                let folder = backups.folder().display().to_string();
                crate::limited!(LOG, WARN, per_minute(1), folder, error = %problem,
                                "log files put aside cannot be compressed or deleted");
            }
        });
    }
}
