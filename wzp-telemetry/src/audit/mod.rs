//! The audit log: who did what, and whether it succeeded, in a file that shows
//! when it was tampered with. docs/logging.md describes the format.
//!
//! Nothing is lost silently. A record is on the disk when [`Audit::record`]
//! returns Ok. [`Audit::note`] never waits; if the disk does not take records
//! for so long that [`CAPACITY`] is reached, or strangers cause more of them than
//! the settings allow, the file itself will tell how many are not in it.

mod file;
mod record;
mod user;
mod verify;
mod writer;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::bucket::Bucket;
use crate::lock::Mutex;
use crate::settings::{self, AuditEvent};
use file::AuditFile;
use record::Entry;
use writer::{Order, Queue};

pub use record::Outcome;
pub use user::User;
pub use verify::{Verified, VerifyError, verify, verify_in_order};
pub use writer::CAPACITY;

/// How long [`Audit::record`] waits for the disk, and the end of the program.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the file tells how many records were left out.
const MINUTE: Duration = Duration::from_secs(60);

/// The program's audit log, or none. Clones are the same log; what was noted is
/// written when the last one is dropped.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    /// A bit for each event that is written.
    events: AtomicU32,
    auth_failures: Bucket,
    ended: Mutex<Receiver<()>>,
}

/// Why something is not in the audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened, or made.
    #[error(
        "cannot open the audit log {}: {error}; make its folder writable, or name another \
         audit.file", path.display()
    )]
    Open {
        /// The file that the error is about.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// `audit.file` is a folder, a device or a pipe.
    #[error(
        "the audit log {} is {what} and not a regular file; name another audit.file, or leave it out to \
         have it in the state directory", path.display()
    )]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another process writes to the same file.
    #[error(
        "another process writes to the audit log {}; give each program an audit.file of its own",
        path.display()
    )]
    Taken {
        /// The file that the error is about.
        path: PathBuf,
    },
    /// The file does not end with a record that can be continued.
    #[error(
        "the audit log {} does not end with a sound record ({why}); see `audit verify`, and \
         move the file away to begin a new one", path.display()
    )]
    Broken {
        /// The file that the error is about.
        path: PathBuf,
        /// What is wrong with its last line.
        why: String,
    },
    /// The disk did not take it. It is tried again every second.
    #[error("the audit log {} cannot be written: {reason}; tried again every second", path.display())]
    Write {
        /// The file that the error is about.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Too many records wait for the disk. The file will tell that some are lost.
    #[error("the audit log has not been written for so long that no more records can wait")]
    Full,
    /// The disk takes longer than five seconds. The record will be written.
    #[error("the audit log's disk does not answer")]
    Slow,
    /// No thread for it.
    #[error("cannot start a thread for the audit log: {0}")]
    Thread(io::Error),
}

impl AuditError {
    /// Without what is said of every error of the file.
    fn reason(self) -> String {
        match self {
            Self::Open { error, .. } | Self::Thread(error) => error.to_string(),
            Self::NotAFile { what, .. } => format!("it is {what} and not a regular file"),
            Self::Taken { .. } => "another process writes to it".into(),
            Self::Broken { why, .. } => format!("it does not end with a sound record ({why})"),
            Self::Write { reason, .. } => reason,
            Self::Full | Self::Slow => self.to_string(),
        }
    }
}

/// What became of the records since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// On the disk.
    pub records: u64,
    /// Lost, because too many waited for the disk.
    pub lost: u64,
    /// Left out, because strangers caused too many.
    pub left_out: u64,
    /// Times the disk did not take what was to be written.
    pub errors: u64,
}

impl Audit {
    /// Opens the audit log, if the settings want one; `default` is where it is if
    /// they name no file. A line that a crash cut short is moved aside.
    ///
    /// # Errors
    /// The file cannot be had, or its last record is not sound.
    pub fn start(settings: &settings::Audit, default: &Path) -> Result<Self, AuditError> {
        if !settings.enabled {
            return Ok(Self::default());
        }
        let file = AuditFile::open(settings.file.as_deref().unwrap_or(default))?;
        let (queue, ended) = writer::start(file, MINUTE)?;
        let shared = Shared {
            queue,
            events: AtomicU32::new(mask(settings)),
            auth_failures: Bucket::new(MINUTE.as_nanos() as u64, failures(settings)),
            ended: Mutex::new(ended),
        };
        Ok(Self { shared: Some(Arc::new(shared)) })
    }

    /// Whether [`Self::start`] could start it at this moment. Makes and changes nothing.
    ///
    /// # Errors
    /// The file cannot be had, or its last record is not sound.
    pub fn check(settings: &settings::Audit, default: &Path) -> Result<(), AuditError> {
        if !settings.enabled {
            return Ok(());
        }
        AuditFile::check(settings.file.as_deref().unwrap_or(default))
    }

    /// Writes a record and waits until it is on the disk, at most five seconds.
    /// For what operators do; shards must not wait.
    ///
    /// # Errors
    /// It is not on the disk. Unless the error is [`AuditError::Full`] it is kept,
    /// and will be written as soon as the disk takes it.
    pub fn record(
        &self,
        event: AuditEvent,
        user: &User,
        outcome: Outcome,
        details: &Value,
    ) -> Result<(), AuditError> {
        let Some(shared) = self.wanting(event) else { return Ok(()) };
        let (answer, answered) = sync_channel(1);
        let entry = Entry::new(SystemTime::now(), event, user, outcome, details);
        if !shared.queue.put(entry, Some(answer)) {
            return Err(AuditError::Full);
        }
        answered.recv_timeout(PATIENCE).unwrap_or(Err(AuditError::Slow))
    }

    /// Has a record written soon, in the order of the calls, unless there are more
    /// of the kind than the settings allow. Never waits.
    pub fn note(&self, event: AuditEvent, user: &User, outcome: Outcome, details: &Value) {
        if let Some(shared) = self.wanting(event) {
            if event == AuditEvent::AuthFailure && !shared.auth_failures.take() {
                return shared.queue.leave_out();
            }
            shared.queue.put(Entry::new(SystemTime::now(), event, user, outcome, details), None);
        }
    }

    /// Takes on another choice of events and another limit. The rest of the
    /// settings is for the next start.
    pub fn apply(&self, settings: &settings::Audit) {
        if let Some(shared) = &self.shared {
            shared.events.store(mask(settings), Ordering::Relaxed);
            shared.auth_failures.set_tokens(failures(settings));
        }
    }

    /// Begins a new file if the old one was moved away. Its first record names
    /// the last hash of the old one, so the chain goes on.
    ///
    /// # Errors
    /// A new file cannot be made. Records go on into the old one.
    pub fn reopen(&self) -> Result<(), AuditError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let (answer, answered): (SyncSender<_>, _) = sync_channel(1);
        shared.queue.tell(Order::Reopen(answer));
        answered.recv_timeout(PATIENCE).unwrap_or(Err(AuditError::Slow))
    }

    /// Whether the disk took what was last to be written. True where there is no
    /// audit log.
    pub fn is_healthy(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.queue.is_healthy())
    }

    /// What became of the records.
    pub fn counts(&self) -> AuditCounts {
        self.shared.as_ref().map_or_else(AuditCounts::default, |shared| shared.queue.counts())
    }

    fn wanting(&self, event: AuditEvent) -> Option<&Shared> {
        let shared = self.shared.as_ref()?;
        (shared.events.load(Ordering::Relaxed) & bit(event) != 0).then_some(shared)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.tell(Order::End);
        // A disk that hangs must not keep the program from ending.
        let ended = self.ended.lock();
        let _ = ended.recv_timeout(PATIENCE);
    }
}

/// Whether an audit log at `log` makes files of that name in its folder.
pub fn is_own(log: &Path, name: &OsStr) -> bool {
    file::is_own(log, name)
}

fn mask(settings: &settings::Audit) -> u32 {
    let chosen = |events: &Vec<_>| events.iter().fold(0, |mask, event| mask | bit(*event));
    settings.events.as_ref().map_or(u32::MAX, chosen)
}

fn failures(settings: &settings::Audit) -> u64 {
    settings.auth_failures_per_minute.max(1).into()
}

fn bit(event: AuditEvent) -> u32 {
    1 << event as u32
}
