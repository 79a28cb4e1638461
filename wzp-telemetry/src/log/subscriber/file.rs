//! The log file: its lock, its size, and what happens when it is moved away,
//! deleted, or cannot be written.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use wzp_untrusted::file;

use super::LogError;
use super::backups::Backups;
use crate::{links, probe};

/// How long lines go elsewhere before a file that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// A log file that is this process's alone.
pub(super) struct LogFile {
    /// As the settings name it.
    named: PathBuf,
    /// Where it is, whatever links lead there: beside it are its lock and what is put aside.
    path: PathBuf,
    backups: Backups,
    max_size: u64,
    lock: File,
    /// None after a failure, until `retry_at`.
    file: Option<File>,
    /// When what has failed is tried again: writing, or putting the file aside.
    retry_at: Instant,
}

/// What writing a line has led to.
#[derive(Debug, PartialEq)]
pub(super) enum Written {
    /// Nothing else.
    Here,
    /// The file was put aside, and the line is the first of a new one.
    Rotated,
    /// The file should have been put aside, but could not be: it grows.
    TooLarge(String),
}

impl LogFile {
    /// Opens it, with its folder where there is none. A `max_size` of 0 is no limit.
    pub(super) fn open(named: &Path, max_size: u64) -> Result<Self, LogError> {
        let path = links::resolve(named);
        let backups = Backups::of(&path);
        let refused = |error| LogError::Open { path: named.to_owned(), error };
        // Not that which a link leads to: a disk may be missing.
        fs::create_dir_all(probe::parent(named)).map_err(refused)?;
        is_regular(&path)?;
        let lock = lock(&path)?;
        let file = Some(open(&path).map_err(refused)?);
        let (named, retry_at) = (named.to_owned(), Instant::now());
        Ok(Self { named, path, backups, max_size, lock, file, retry_at })
    }

    /// Whether it could be opened at this moment. Makes and changes nothing.
    pub(super) fn check(named: &Path) -> Result<(), LogError> {
        let path = links::resolve(named);
        is_regular(&path)?;
        look(named, OpenOptions::new().read(true).append(true))?;
        if let Some(lock) = look(&lock_path(&path), OpenOptions::new().write(true))? {
            take(&lock, &path)?;
        }
        Ok(())
    }

    /// As the settings name it.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    pub(super) fn backups(&self) -> &Backups {
        &self.backups
    }

    pub(super) fn set_max_size(&mut self, max_size: u64) {
        self.max_size = max_size;
    }

    /// Writes a line, whole or not at all.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<Written> {
        let written = self.try_write(line);
        if written.is_err() {
            self.file = None;
            self.retry_at = Instant::now() + RETRY;
        }
        written
    }

    /// When writing may be tried again, if it has failed.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.file.is_none().then_some(self.retry_at)
    }

    /// Opens the file that has the name if that is not the one that is open.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        if self.file.as_ref().is_some_and(|file| is_at(file, &self.named)) {
            return Ok(());
        }
        self.retry_at = Instant::now() + RETRY;
        let path = links::resolve(&self.named);
        // Whoever took the folder away took the lock, too.
        let is_unlocked = self.lock.metadata().is_ok_and(|lock| lock.nlink() == 0);
        if is_unlocked || path != self.path {
            let before = std::mem::replace(&mut self.lock, lock(&path)?);
            unlock(&before);
            self.backups = Backups::of(&path);
            self.path = path;
        }
        self.file = None;
        let refused = |error| LogError::Open { path: self.path.clone(), error };
        self.file = Some(open(&self.path).map_err(refused)?);
        self.retry_at = Instant::now();
        Ok(())
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<Written> {
        // Asked each time: others truncate, move and delete log files.
        let mut found = self.file.as_ref().map(File::metadata).transpose()?;
        if found.as_ref().is_none_or(|file| file.nlink() == 0) {
            self.reopen().map_err(io::Error::other)?;
            found = self.file.as_ref().map(File::metadata).transpose()?;
        }
        let mut size = found.map_or(0, |file| file.len());
        let mut written = Written::Here;
        let too_large = self.max_size > 0 && size > 0 && size + line.len() as u64 > self.max_size;
        if too_large && self.retry_at <= Instant::now() {
            written = self.rotate()?;
            size = self.file.as_ref().map(File::metadata).transpose()?.map_or(0, |file| file.len());
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_all(line).inspect_err(|_| {
            // Half a line would be glued to the next one.
            let _ = file.set_len(size);
        })?;
        Ok(written)
    }

    fn rotate(&mut self) -> io::Result<Written> {
        if self.file.as_ref().is_some_and(|file| is_at(file, &self.path)) {
            let next = self.backups.next(SystemTime::now());
            if let Err(error) = next.and_then(|next| fs::rename(&self.path, next)) {
                self.retry_at = Instant::now() + RETRY;
                return Ok(Written::TooLarge(error.to_string()));
            }
        }
        self.file = None;
        self.file = Some(open(&self.path)?);
        Ok(Written::Rotated)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let there = fs::metadata(path).map(place);
    there.is_ok_and(|there| file.metadata().is_ok_and(|here| place(here) == there))
}

impl Drop for LogFile {
    fn drop(&mut self) {
        unlock(&self.lock);
    }
}

/// Closing alone would leave the lock to a child that is being started.
fn unlock(lock: &File) {
    let _ = flock(lock, FlockOperation::Unlock);
}

/// Opens a file that may be missing, if it could be made then.
fn look(path: &Path, options: &OpenOptions) -> Result<Option<File>, LogError> {
    let refused = |error| LogError::Open { path: path.to_owned(), error };
    match file::open(path, options) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            probe::file(path).map(|()| None).map_err(refused)
        }
        opened => opened.map(Some).map_err(refused),
    }
}

/// Holds `PATH.lock`. The log file itself would not do: it is renamed.
fn lock(path: &Path) -> Result<File, LogError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let at = lock_path(path);
    let lock = file::open(&at, &options).map_err(|error| LogError::Open { path: at, error })?;
    take(&lock, path)?;
    Ok(lock)
}

fn lock_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn take(lock: &File, path: &Path) -> Result<(), LogError> {
    flock(lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => LogError::Taken { path: path.to_owned() },
        other => LogError::Open { path: path.to_owned(), error: other.into() },
    })
}

fn is_regular(path: &Path) -> Result<(), LogError> {
    let found = fs::metadata(path).ok();
    let what = found.and_then(|found| file::irregular(found.file_type()));
    what.map_or(Ok(()), |what| Err(LogError::NotAFile { path: path.to_owned(), what }))
}

/// Whether a log at `log` makes, renames or deletes files of that name in its folder.
pub(super) fn is_own(log: &Path, name: &OsStr) -> bool {
    lock_path(log).file_name() == Some(name)
        || name.to_str().is_some_and(|name| Backups::of(log).has(name))
}

/// Opens the file to append to it. A line that a kill cut short gets its end, so
/// that the next one is not glued to it.
fn open(path: &Path) -> io::Result<File> {
    let mut file = file::open(path, OpenOptions::new().read(true).append(true).create(true))?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_is_not_tried_without_a_pause() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("logs");
        let mut log = LogFile::open(&folder.join("a.log"), 0).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        log.write(b"line\n").unwrap_err();
        // As if that had been a while ago.
        log.retry_at = Instant::now();
        log.reopen().unwrap_err();
        assert!(log.waits_until().unwrap() > Instant::now() + RETRY / 2);
    }
}
