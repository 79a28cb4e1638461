//! Writes what is heard to a file on a thread of its own: a slow disk delays
//! the file and nothing else.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::warn;
use wzp_media::recording::{Prepared, Recording, RecordingError};
use wzp_media::{SILENT_TICK, Tick};

use crate::exit::Failure;
use crate::feed::STREAM;

/// Ticks that may wait for the disk: ten seconds, two megabytes.
const CAPACITY: usize = 500;

/// How long the disk may take to write what waits for it at the end, and how often
/// it is asked whether it has.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);

/// One tick on its way to the disk.
struct Entry {
    /// Ticks before this one for which there was no room.
    missed: u64,
    tick: Tick,
}

/// A recording in progress.
pub(crate) struct Recorder {
    queue: SyncSender<Entry>,
    thread: JoinHandle<Result<(), RecordingError>>,
    missed: u64,
}

/// Prepares a recording. On a thread of its own, because a named pipe is waited for
/// until somebody reads from it.
pub(crate) async fn prepare(path: &Path) -> Result<Prepared, Failure> {
    let path = path.to_owned();
    let (prepared_in, prepared) = oneshot::channel();
    let prepare = move || {
        let prepared = match path.as_os_str() == STREAM {
            true => Prepared::stream("standard output", std::io::stdout()),
            false => Prepared::beside(&path),
        };
        let _ = prepared_in.send(prepared);
    };
    let cannot = |source| Failure::System { what: "start a thread", source };
    std::thread::Builder::new().name("prepare".to_owned()).spawn(prepare).map_err(cannot)?;
    let prepared = prepared.await.map_err(|ended| cannot(std::io::Error::other(ended)))?;
    prepared.map_err(Failure::Recording)
}

impl Recorder {
    /// Begins the recording: from now on it is where it should be.
    pub(crate) fn begin(prepared: Prepared) -> Result<Self, Failure> {
        let recording = prepared.begin().map_err(Failure::Recording)?;
        let (queue, entries) = sync_channel(CAPACITY);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || write(recording, &entries))
            .map_err(|source| Failure::System { what: "start a thread", source })?;
        Ok(Self { queue, thread, missed: 0 })
    }

    /// Queues a tick. When the disk is ten seconds behind, ticks are left out
    /// and become silence, so that what follows stays in time.
    ///
    /// Returns false when the file can no longer be written; `finish` tells why.
    pub(crate) fn push(&mut self, tick: &Tick) -> bool {
        match self.queue.try_send(Entry { missed: self.missed, tick: *tick }) {
            Ok(()) => self.missed = 0,
            Err(TrySendError::Full(_)) => {
                if self.missed == 0 {
                    warn!("the disk is too slow for the recording; it will have a gap");
                }
                self.missed += 1;
            }
            Err(TrySendError::Disconnected(_)) => return false,
        }
        true
    }

    /// Waits until everything is written and the file complete; not for ever, if
    /// whoever reads from a pipe does not.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        drop(self.queue);
        let patience = Instant::now() + PATIENCE;
        while !self.thread.is_finished() {
            if Instant::now() > patience {
                return Err(Failure::RecordingStalled(PATIENCE));
            }
            sleep(LOOK).await;
        }
        match self.thread.join() {
            Ok(written) => written.map_err(Failure::RecordingStopped),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write(mut recording: Recording, entries: &Receiver<Entry>) -> Result<(), RecordingError> {
    for entry in entries {
        for _ in 0..entry.missed {
            recording.push(&SILENT_TICK)?;
        }
        recording.push(&entry.tick)?;
    }
    recording.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use wzp_media::{TICK_SAMPLES, source};

    use super::*;

    #[tokio::test]
    async fn a_slow_disk_leaves_a_gap_and_keeps_the_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heard.wav");
        let recording = Recording::create(&path).unwrap();
        let (queue, entries) = sync_channel(CAPACITY);
        let (disk, works_again) = channel();
        let thread = std::thread::spawn(move || {
            works_again.recv().unwrap();
            write(recording, &entries)
        });
        let mut recorder = Recorder { queue, thread, missed: 0 };
        let tick = [0.5; TICK_SAMPLES];
        let mut pushed = CAPACITY + 100;
        for _ in 0..pushed {
            assert!(recorder.push(&tick));
        }
        assert_eq!(recorder.missed, 100);
        disk.send(()).unwrap();
        while recorder.missed > 0 {
            std::thread::sleep(Duration::from_millis(1));
            assert!(recorder.push(&tick));
            pushed += 1;
        }
        recorder.finish().await.unwrap();

        let samples = source::read(&path).unwrap();
        assert_eq!(samples.len(), pushed * TICK_SAMPLES);
        let loud = |tick: usize| samples[tick * TICK_SAMPLES] > 0.4;
        assert!(loud(0) && loud(CAPACITY - 1) && loud(pushed - 1));
        assert!(!loud(CAPACITY) && !loud(CAPACITY + 99));
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_noticed_at_once_and_told_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heard.wav");
        let (queue, entries) = sync_channel(1);
        drop(entries);
        let full = path.clone();
        let thread =
            std::thread::spawn(move || Err(RecordingError::Full(full.display().to_string())));
        let mut recorder = Recorder { queue, thread, missed: 0 };
        assert!(!recorder.push(&SILENT_TICK));
        let told = recorder.finish().await.unwrap_err().to_string();
        assert!(told.contains(path.to_str().unwrap()), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_that_nobody_reads_does_not_hold_the_end_up() {
        let (queue, _entries) = sync_channel(1);
        let (never, end) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = end.recv();
            Ok(())
        });
        let told = Recorder { queue, thread, missed: 0 }.finish().await.unwrap_err().to_string();
        assert!(told.contains("20 s"), "{told}");
        drop(never);
    }
}
