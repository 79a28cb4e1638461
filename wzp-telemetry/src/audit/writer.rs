//! The thread that writes records, many with one fdatasync where many wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tracing::{error, info};

use super::file::AuditFile;
use super::record::{Entry, Outcome};
use super::{AuditCounts, AuditError, User};
use crate::attempt::attempt;
use crate::log::target;
use crate::settings::AuditEvent;

/// Most bytes of records that wait for the disk: some ten thousand records.
pub const CAPACITY: usize = 8 << 20;
/// How often a disk that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type Answer = SyncSender<Result<(), AuditError>>;

/// What the writer is told.
pub(super) enum Order {
    Record(Entry, Option<Answer>),
    /// Records are left out from now on.
    LeftOut,
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
    left_out: AtomicU64,
    /// Those of them that the file does not tell of yet.
    untold: AtomicU64,
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

    /// Counts a record that is not to be written.
    pub(super) fn leave_out(&self) {
        self.state.left_out.fetch_add(1, Ordering::Relaxed);
        if self.state.untold.fetch_add(1, Ordering::Relaxed) == 0 {
            self.tell(Order::LeftOut);
        }
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
        let State { records, lost, left_out, errors, .. } = &*self.state;
        AuditCounts {
            records: read(records),
            lost: read(lost),
            left_out: read(left_out),
            errors: read(errors),
        }
    }
}

/// Starts the thread, which tells every `pause` what was left out.
pub(super) fn start(file: AuditFile, pause: Duration) -> Result<(Queue, Receiver<()>), AuditError> {
    let (orders, given) = channel();
    let (end, ended) = sync_channel(1);
    let state = Arc::new(State::default());
    let mut writer = Writer {
        file,
        state: state.clone(),
        waiting: VecDeque::new(),
        lost_written: 0,
        pause,
        tell_at: None,
    };
    thread::Builder::new()
        .name("audit".into())
        .spawn(move || {
            while !attempt(|| writer.run(&given)) {
                writer.state.errors.fetch_add(1, Ordering::Relaxed);
                writer.state.failing.store(true, Ordering::Relaxed);
                // What waits is tried again, and may well fail again.
                thread::sleep(RETRY);
            }
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
    pause: Duration,
    /// When the file is to tell how many records were left out.
    tell_at: Option<Instant>,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let retry = (!self.waiting.is_empty()).then_some(RETRY);
            let tell = self.tell_at.map(|at| at.saturating_duration_since(Instant::now()));
            let first = match retry.into_iter().chain(tell).min() {
                None => orders.recv().map_err(Into::into),
                Some(time) => orders.recv_timeout(time),
            };
            let mut end = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut reopen = None;
            for order in first.into_iter().chain(orders.try_iter()) {
                match order {
                    Order::Record(entry, answer) => self.waiting.push_back((entry, answer)),
                    Order::LeftOut => self.tell_at = Some(Instant::now() + self.pause),
                    Order::Reopen(answer) => {
                        reopen = Some(answer);
                        break;
                    }
                    Order::End => end = true,
                }
            }
            // Each file tells of its own time.
            let is_last = end || reopen.is_some();
            if self.tell_at.is_some_and(|at| is_last || at <= Instant::now()) {
                self.tell_left_out();
            }
            self.commit();
            if let Some(answer) = reopen {
                let result = self.reopen();
                self.commit();
                let _ = answer.send(result);
            }
            if end {
                if !self.waiting.is_empty() {
                    error!(target: target::AUDIT,
                        records = self.waiting.len(),
                        "the audit log's disk fails; these are lost"
                    );
                }
                return;
            }
        }
    }

    fn tell_left_out(&mut self) {
        self.tell_at = None;
        let count = self.state.untold.swap(0, Ordering::Relaxed);
        let details =
            json!({"left_out": count, "reason": "more than audit.auth_failures_per_minute"});
        let entry = own(AuditEvent::AuthFailure, Outcome::Failure, &details);
        self.state.waiting.fetch_add(entry.len(), Ordering::Relaxed);
        self.waiting.push_back((entry, None));
    }

    /// Writes all that waits, with one wait for the disk.
    fn commit(&mut self) {
        if self.file.is_deleted() {
            let deleted = "the file was deleted";
            if let Err(problem) = self.begin_anew(deleted) {
                return self.failed(problem.reason());
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
            own(AuditEvent::Lifecycle, Outcome::Failure, &details)
        });
        let entries = self.waiting.iter().map(|(entry, _)| entry).chain(&told);
        match self.file.append(entries) {
            Ok(()) => {
                self.lost_written = lost;
                let records = self.waiting.len() + usize::from(told.is_some());
                self.state.records.fetch_add(records as u64, Ordering::Relaxed);
                if self.state.failing.swap(false, Ordering::Relaxed) {
                    info!(target: target::AUDIT, records, "the audit log can be written again; what waited is written");
                }
                // Last: who has an answer finds all else as it is now.
                for (entry, answer) in self.waiting.drain(..) {
                    self.state.waiting.fetch_sub(entry.len(), Ordering::Relaxed);
                    if let Some(answer) = answer {
                        let _ = answer.send(Ok(()));
                    }
                }
            }
            Err(problem) => self.failed(problem.to_string()),
        }
    }

    /// Who waits for an answer gets it; the records stay.
    fn failed(&mut self, reason: String) {
        self.state.errors.fetch_add(1, Ordering::Relaxed);
        let path = self.file.path().to_owned();
        let problem = || AuditError::Write { path: path.clone(), reason: reason.clone() };
        if !self.state.failing.swap(true, Ordering::Relaxed) {
            error!(target: target::AUDIT, error = %problem(), "records wait");
        }
        for answer in self.waiting.iter_mut().filter_map(|(_, answer)| answer.take()) {
            let _ = answer.send(Err(problem()));
        }
    }

    fn reopen(&mut self) -> Result<(), AuditError> {
        if self.file.is_elsewhere() { self.begin_anew("the file was moved away") } else { Ok(()) }
    }

    /// Begins a new file, whose first record tells which one it continues.
    fn begin_anew(&mut self, why: &str) -> Result<(), AuditError> {
        let before = self.file.last_hash().to_owned();
        self.file.begin_anew()?;
        info!(target: target::AUDIT, reason = why, continues = before, "the audit log goes on in a new file");
        let details = json!({"continues": before, "reason": why});
        let entry = own(AuditEvent::Lifecycle, Outcome::Success, &details);
        self.state.waiting.fetch_add(entry.len(), Ordering::Relaxed);
        self.waiting.push_front((entry, None));
        Ok(())
    }
}

/// What the audit log tells about itself, whichever events are chosen.
fn own(event: AuditEvent, outcome: Outcome, details: &serde_json::Value) -> Entry {
    Entry::new(SystemTime::now(), event, &User::Program, outcome, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_told_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (queue, ended) =
            start(AuditFile::open(&path).unwrap(), Duration::from_millis(1)).unwrap();
        for round in 1..=2 {
            (0..5).for_each(|_| queue.leave_out());
            let deadline = Instant::now() + Duration::from_secs(60);
            while queue.state.untold.load(Ordering::Relaxed) > 0 || queue.counts().records < round {
                assert!(Instant::now() < deadline, "it is not told");
                thread::yield_now();
            }
        }
        queue.tell(Order::End);
        ended.recv().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let told = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["details"]["left_out"].as_u64().unwrap()
        });
        assert_eq!((told.sum::<u64>(), queue.counts().left_out), (10, 10));
    }
}
