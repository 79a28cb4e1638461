//! Whether folders can be written to, told also while a file system does not answer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};

use super::{Check, Consequence};
use crate::lock::Mutex;
use crate::probe;

/// How long a file system has to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// `storage`: whether some folders can be written to.
pub struct Storage {
    look: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// A look that has not ended. One thread at most waits for a file system.
    under_way: Mutex<Option<UnderWay>>,
}

struct UnderWay {
    since: Instant,
    problem: Receiver<Option<String>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

impl Storage {
    /// Of these folders.
    pub fn of(folders: Vec<PathBuf>) -> Self {
        Self::looking(move || folders.iter().find_map(|folder| problem_of(folder)))
    }

    fn looking(look: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self { look: Arc::new(look), under_way: Mutex::default() }
    }

    /// Looks, for half a second at most.
    pub fn check(&self) -> Check {
        let failed = |why: String| Check::failed("storage", Consequence::Degraded, why);
        let mut under_way = self.under_way.lock();
        let (look, patience) = match under_way.take() {
            Some(look) => (look, Duration::ZERO),
            None => match self.begin() {
                Ok(look) => (look, PATIENCE),
                Err(error) => return failed(format!("nobody can look: {error}")),
            },
        };
        match look.problem.recv_timeout(patience) {
            Ok(None) => Check::ok("storage"),
            Ok(Some(problem)) => failed(problem),
            Err(RecvTimeoutError::Disconnected) => failed("nobody could look".into()),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = look.since.elapsed().as_secs_f64();
                *under_way = Some(look);
                failed(format!("the file system has not answered for {seconds:.1} seconds"))
            }
        }
    }

    fn begin(&self) -> std::io::Result<UnderWay> {
        let (tell, problem) = channel();
        let look = self.look.clone();
        // Whoever asked may have given up.
        let look = move || drop(tell.send(look()));
        thread::Builder::new().name("storage".into()).spawn(look)?;
        Ok(UnderWay { since: Instant::now(), problem })
    }
}

fn problem_of(folder: &Path) -> Option<String> {
    let place = folder.display();
    if let Err(error) = access(folder, Access::WRITE_OK) {
        return Some(format!("cannot write to {place}: {error}"));
    }
    probe::shortage(folder)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn reason(check: Check) -> String {
        let (consequence, reason) = check.problem.unwrap();
        assert_eq!(consequence, Consequence::Degraded);
        reason
    }

    #[test]
    fn the_folder_that_cannot_be_written_to_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().to_owned();
        assert_eq!(Storage::of(vec![good.clone()]).check(), Check::ok("storage"));
        let reason = reason(Storage::of(vec![good, "/nonexistent/state".into()]).check());
        assert!(reason.contains("/nonexistent/state"), "{reason}");
    }

    #[test]
    fn a_file_system_that_does_not_answer_holds_nobody_up() {
        let (answer, asked) = sync_channel(0);
        let asked = Mutex::new(asked);
        let storage = Storage::looking(move || asked.lock().recv().unwrap());
        for _ in 0..3 {
            let reason = reason(storage.check());
            assert!(reason.contains("has not answered for"), "{reason}");
        }
        // The same look ends, and not one of several.
        answer.send(None::<String>).unwrap();
        while storage.check() != Check::ok("storage") {
            thread::yield_now();
        }
        let _ = reason(storage.check());
        drop(answer);
    }
}
