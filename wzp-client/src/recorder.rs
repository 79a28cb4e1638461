//! Writes what is heard to a file on a thread of its own: a slow disk delays
//! the file and nothing else.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tracing::warn;
use wzp_media::recording::{Recording, RecordingError};
use wzp_media::{SILENT_TICK, Tick};

use crate::exit::Failure;

/// Ticks that may wait for the disk: ten seconds, two megabytes.
const CAPACITY: usize = 500;

/// One tick on its way to the disk.
struct Entry {
    /// Ticks before this one for which there was no room.
    missed: u64,
    tick: Tick,
    heard: bool,
}

/// A recording in progress.
pub(crate) struct Recorder {
    queue: SyncSender<Entry>,
    thread: JoinHandle<Result<(), RecordingError>>,
    missed: u64,
}

impl Recorder {
    /// Creates the file at once, so that a wrong path is known at once.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let recording = Recording::create(path).map_err(Failure::Recording)?;
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
    pub(crate) fn push(&mut self, tick: &Tick, heard: bool) -> bool {
        match self.queue.try_send(Entry { missed: self.missed, tick: *tick, heard }) {
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

    /// Waits until everything is written and the file complete.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        drop(self.queue);
        match self.thread.join() {
            Ok(written) => written.map_err(Failure::RecordingStopped),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write(mut recording: Recording, entries: &Receiver<Entry>) -> Result<(), RecordingError> {
    for entry in entries {
        for _ in 0..entry.missed {
            recording.push(&SILENT_TICK, false)?;
        }
        recording.push(&entry.tick, entry.heard)?;
    }
    recording.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use wzp_media::TICK_SAMPLES;
    use wzp_media::wav;

    use super::*;

    #[test]
    fn a_slow_disk_leaves_a_gap_and_keeps_the_time() {
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
            assert!(recorder.push(&tick, true));
        }
        assert_eq!(recorder.missed, 100);
        disk.send(()).unwrap();
        while recorder.missed > 0 {
            std::thread::sleep(Duration::from_millis(1));
            assert!(recorder.push(&tick, true));
            pushed += 1;
        }
        recorder.finish().unwrap();

        let samples = wav::read(&path).unwrap();
        assert_eq!(samples.len(), pushed * TICK_SAMPLES);
        let loud = |tick: usize| samples[tick * TICK_SAMPLES] > 0.4;
        assert!(loud(0) && loud(CAPACITY - 1) && loud(pushed - 1));
        assert!(!loud(CAPACITY) && !loud(CAPACITY + 99));
    }

    #[test]
    fn a_disk_that_fails_is_noticed_at_once_and_told_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heard.wav");
        let (queue, entries) = sync_channel(1);
        drop(entries);
        let full = path.clone();
        let thread = std::thread::spawn(move || Err(RecordingError::Full(full)));
        let mut recorder = Recorder { queue, thread, missed: 0 };
        assert!(!recorder.push(&SILENT_TICK, true));
        let told = recorder.finish().unwrap_err().to_string();
        assert!(told.contains(path.to_str().unwrap()), "{told}");
    }
}
