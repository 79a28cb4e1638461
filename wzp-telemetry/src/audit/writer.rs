//! The thread that writes records, many with one fdatasync where many wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tracing::{error, info};

use super::file::AuditFile;
use super::record::{Entry, Outcome};
use super::{AuditCounts, AuditError, User};
use crate::settings::AuditEvent;

/// Most bytes of records that wait for the disk: some ten thousand records.
pub const CAPACITY: usize = 8 << 20;
/// How often a disk that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type Answer = SyncSender<Result<(), AuditError>>;

/// What the writer is told.
pub(super) enum Order {
    Record(Entry, Option<Answer>),
    Reopen(Answer),
    End,
}

#[derive(Debug, Default)]
struct State {
    failing: AtomicBool,
    waiting: AtomicUsize,
    records: AtomicU64,
    errors: AtomicU64,
    lost: AtomicU64,
}

/// The end that records are put in.
#[derive(Debug)]
pub(super) struct Queue {
    orders: Sender<Order>,
    state: Arc<State>,
}

impl Queue {
    /// Whether there was room.
    pub(super) fn put(&self, entry: Entry, answer: Option<Answer>) -> bool {
        let length = entry.len();
        // Strangers cause what nobody waits for: the last quarter is for operators.
        let capacity = if answer.is_some() { CAPACITY } else { CAPACITY / 4 * 3 };
        if self.state.waiting.fetch_add(length, Ordering::Relaxed) + length > capacity {
            self.state.waiting.fetch_sub(length, Ordering::Relaxed);
            self.state.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.tell(Order::Record(entry, answer));
        true
    }

    pub(super) fn tell(&self, order: Order) {
        // The writer ends last.
        let _ = self.orders.send(order);
    }

    pub(super) fn is_healthy(&self) -> bool {
        !self.state.failing.load(Ordering::Relaxed)
    }

    pub(super) fn counts(&self) -> AuditCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let State { records, lost, errors, .. } = &*self.state;
        AuditCounts { records: read(records), lost: read(lost), errors: read(errors) }
    }
}

pub(super) fn start(file: AuditFile) -> Result<(Queue, Receiver<()>), AuditError> {
    let (orders, given) = channel();
    let (end, ended) = sync_channel(1);
    let state = Arc::new(State::default());
    let mut writer =
        Writer { file, state: state.clone(), waiting: VecDeque::new(), lost_written: 0 };
    thread::Builder::new()
        .name("audit".into())
        .spawn(move || {
            writer.run(&given);
            drop(writer);
            let _ = end.send(());
        })
        .map_err(AuditError::Thread)?;
    Ok((Queue { orders, state }, ended))
}

struct Writer {
    file: AuditFile,
    state: Arc<State>,
    waiting: VecDeque<(Entry, Option<Answer>)>,
    /// Of the records that were lost, those that the file tells of.
    lost_written: u64,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let first = if self.waiting.is_empty() {
                orders.recv().map_err(Into::into)
            } else {
                orders.recv_timeout(RETRY)
            };
            let mut end = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut reopen = None;
            for order in first.into_iter().chain(orders.try_iter()) {
                match order {
                    Order::Record(entry, answer) => self.waiting.push_back((entry, answer)),
                    Order::Reopen(answer) => {
                        reopen = Some(answer);
                        break;
                    }
                    Order::End => end = true,
                }
            }
            self.commit();
            if let Some(answer) = reopen {
                let result = self.reopen();
                self.commit();
                let _ = answer.send(result);
            }
            if end {
                if !self.waiting.is_empty() {
                    error!(
                        records = self.waiting.len(),
                        "the audit log's disk fails; these are lost"
                    );
                }
                return;
            }
        }
    }

    /// Writes all that waits, with one wait for the disk.
    fn commit(&mut self) {
        if self.file.is_deleted() {
            let deleted = "the file was deleted";
            if let Err(problem) = self.begin_anew(deleted) {
                return self.failed(problem);
            }
        }
        let lost = self.state.lost.load(Ordering::Relaxed);
        let untold = lost - self.lost_written;
        if self.waiting.is_empty() && untold == 0 {
            return;
        }
        let told = (untold > 0).then(|| {
            let details =
                json!({"lost": untold, "reason": "the disk did not take records in time"});
            own(Outcome::Failure, &details)
        });
        let entries = self.waiting.iter().map(|(entry, _)| entry).chain(&told);
        match self.file.append(entries) {
            Ok(()) => {
                self.lost_written = lost;
                let records = self.waiting.len() + usize::from(told.is_some());
                self.state.records.fetch_add(records as u64, Ordering::Relaxed);
                if self.state.failing.swap(false, Ordering::Relaxed) {
                    info!(records, "the audit log can be written again; what waited is written");
                }
                // Last: who has an answer finds all else as it is now.
                for (entry, answer) in self.waiting.drain(..) {
                    self.state.waiting.fetch_sub(entry.len(), Ordering::Relaxed);
                    if let Some(answer) = answer {
                        let _ = answer.send(Ok(()));
                    }
                }
            }
            Err(problem) => {
                let path = self.file.path().to_owned();
                self.failed(AuditError::Write { path, reason: problem.to_string() });
            }
        }
    }

    /// Who waits for an answer gets it; the records stay.
    fn failed(&mut self, problem: AuditError) {
        self.state.errors.fetch_add(1, Ordering::Relaxed);
        if !self.state.failing.swap(true, Ordering::Relaxed) {
            error!(error = %problem, "records wait");
        }
        let (path, reason) = (self.file.path().to_owned(), problem.to_string());
        for answer in self.waiting.iter_mut().filter_map(|(_, answer)| answer.take()) {
            let (path, reason) = (path.clone(), reason.clone());
            let _ = answer.send(Err(AuditError::Write { path, reason }));
        }
    }

    fn reopen(&mut self) -> Result<(), AuditError> {
        if self.file.is_elsewhere() { self.begin_anew("the file was moved away") } else { Ok(()) }
    }

    /// Begins a new file, whose first record tells which one it continues.
    fn begin_anew(&mut self, why: &str) -> Result<(), AuditError> {
        let before = self.file.last_hash().to_owned();
        self.file.begin_anew()?;
        let details = json!({"continues": before, "reason": why});
        let entry = own(Outcome::Success, &details);
        self.state.waiting.fetch_add(entry.len(), Ordering::Relaxed);
        self.waiting.push_front((entry, None));
        Ok(())
    }
}

/// What the audit log tells about itself, whichever events are chosen.
fn own(outcome: Outcome, details: &serde_json::Value) -> Entry {
    Entry::new(SystemTime::now(), AuditEvent::Lifecycle, &User::Program, outcome, details)
}
