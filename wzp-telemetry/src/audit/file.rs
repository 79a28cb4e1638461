//! The audit file: the end of its chain, and appending to it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use tracing::warn;
use wzp_untrusted::file;

use super::AuditError;
use super::record::{self, Entry, Link};
use crate::log::target;
use crate::{links, probe};

/// What comes behind the name of the file, before the time, where a line was cut short.
const TORN: &str = ".torn-";

/// An audit log that is this process's alone, and the end of its chain.
#[derive(Debug)]
pub(super) struct AuditFile {
    /// As the settings name it.
    path: PathBuf,
    file: File,
    last: Link,
}

impl AuditFile {
    /// Opens it, with its folder where there is none, and finds the last record.
    pub(super) fn open(named: &Path) -> Result<Self, AuditError> {
        let path = links::resolve(named);
        let refused = |error| AuditError::Open { path: named.to_owned(), error };
        // Not that which a link leads to: a disk may be missing.
        fs::create_dir_all(probe::parent(named)).map_err(refused)?;
        let file = open(&path)?;
        let whole = move_torn_aside(&path, &file).map_err(refused)?;
        let last = last_link(&path, &file, whole)?;
        Ok(Self { path: named.to_owned(), file, last })
    }

    /// Whether it could be opened at this moment. Makes and changes nothing.
    pub(super) fn check(named: &Path) -> Result<(), AuditError> {
        let path = &links::resolve(named);
        let refused = |error| AuditError::Open { path: named.to_owned(), error };
        is_regular(path)?;
        let file = match file::open(path, &options()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return probe::file(named).map_err(refused);
            }
            Err(error) => return Err(refused(error)),
        };
        take(&file, path)?;
        sync_folder(path).map_err(refused)?;
        let size = file.metadata().map_err(refused)?.len();
        let (torn, whole) = last_bytes(&file, size).map_err(refused)?;
        if !torn.is_empty() {
            probe::folder(probe::parent(path)).and_then(|()| probe::room(path)).map_err(refused)?;
        }
        last_link(path, &file, whole).map(drop)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The hash of the last record.
    pub(super) fn last_hash(&self) -> &str {
        &self.last.hash
    }

    /// Whether the file was deleted; what is written to it then is lost.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Whether another file, or none, is where this one was opened.
    pub(super) fn is_elsewhere(&self) -> bool {
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        match (self.file.metadata().map(place), fs::metadata(&self.path).map(place)) {
            (Ok(here), Ok(there)) => here != there,
            (Ok(_), Err(error)) => error.kind() == io::ErrorKind::NotFound,
            (Err(_), _) => false,
        }
    }

    /// Begins a new file at the path; the chain goes on.
    pub(super) fn begin_anew(&mut self) -> Result<(), AuditError> {
        let file = open(&links::resolve(&self.path))?;
        let refused = |error| AuditError::Open { path: self.path.clone(), error };
        *self = if file.metadata().map_err(refused)?.len() == 0 {
            Self { path: self.path.clone(), file, last: self.last.clone() }
        } else {
            // One with records in it has a chain of its own. Its lock is taken again.
            drop(file);
            Self::open(&self.path)?
        };
        Ok(())
    }

    /// Appends records and waits for the disk: all of them, or none.
    pub(super) fn append<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let mut last = self.last.clone();
        let mut lines = String::new();
        for entry in entries {
            let (line, link) = entry.after(&last);
            lines += &line;
            last = link;
        }
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.inspect_err(|_| {
            // They are tried again, with the same sequence numbers.
            let _ = self.file.set_len(size);
        })?;
        self.last = last;
        Ok(())
    }
}

impl Drop for AuditFile {
    /// Closing alone would leave the lock to a child that is being started.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// To read and to append, if it is there.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

fn open(path: &Path) -> Result<File, AuditError> {
    let refused = |error| AuditError::Open { path: path.to_owned(), error };
    is_regular(path)?;
    let file = file::open(path, options().create(true)).map_err(refused)?;
    take(&file, path)?;
    sync_folder(path).map_err(refused)?;
    Ok(file)
}

fn is_regular(path: &Path) -> Result<(), AuditError> {
    let found = fs::metadata(path).ok();
    let what = found.and_then(|found| file::irregular(found.file_type()));
    what.map_or(Ok(()), |what| Err(AuditError::NotAFile { path: path.to_owned(), what }))
}

fn take(file: &File, path: &Path) -> Result<(), AuditError> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => AuditError::Taken { path: path.to_owned() },
        other => AuditError::Open { path: path.to_owned(), error: other.into() },
    })
}

/// A new name in a folder is on the disk only when the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(probe::parent(path)).and_then(|folder| folder.sync_all())
}

/// Whether a log at `log` makes files of that name in its folder: lines that were cut short.
pub(super) fn is_own(log: &Path, name: &OsStr) -> bool {
    let own = log.file_name().map(OsStr::as_encoded_bytes);
    own.and_then(|own| name.as_encoded_bytes().strip_prefix(own))
        .is_some_and(|rest| rest.starts_with(TORN.as_bytes()))
}

/// The last of the records in the first `size` bytes.
fn last_link(path: &Path, file: &File, size: u64) -> Result<Link, AuditError> {
    let refused = |error| AuditError::Open { path: path.to_owned(), error };
    let Some(line) = last_line(file, size).map_err(refused)? else { return Ok(record::origin()) };
    let broken = |why| AuditError::Broken { path: path.to_owned(), why };
    let place = record::check(&line).map_err(broken)?;
    Ok(Link { sequence: place.sequence, hash: place.hash })
}

/// Moves a last line that has no end to `PATH.torn-TIME`, and gives the length
/// of the rest.
fn move_torn_aside(path: &Path, file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let (torn, whole) = last_bytes(file, size)?;
    if torn.is_empty() {
        return Ok(size);
    }
    let stamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut aside = OsString::from(path);
    aside.push(format!("{TORN}{}", stamp.replace(['-', ':'], "")));
    let mut options = OpenOptions::new();
    let mut copy = options.write(true).create_new(true).mode(0o600).open(&aside)?;
    copy.write_all(&torn)?;
    copy.sync_all()?;
    file.set_len(whole)?;
    file.sync_all()?;
    warn!(target: target::AUDIT, bytes = torn.len(), moved_to = %aside.display(),
          "the audit log's last line was cut short, by a crash it seems; it was never reported as written");
    Ok(whole)
}

/// The last line of the first `size` bytes, without its end.
fn last_line(file: &File, size: u64) -> io::Result<Option<Vec<u8>>> {
    match size.checked_sub(1) {
        None => Ok(None),
        Some(before_end) => Ok(Some(last_bytes(file, before_end)?.0)),
    }
}

/// What follows the last line feed among the first `size` bytes, and where it
/// begins.
fn last_bytes(file: &File, size: u64) -> io::Result<(Vec<u8>, u64)> {
    const BLOCK: u64 = 64 << 10;
    let mut from = size;
    let mut tail = Vec::new();
    while from > 0 {
        // Twice as much each time, so that what was read is not moved too often.
        let length = from.min(BLOCK.max(tail.len() as u64));
        from -= length;
        let mut block = vec![0; length as usize];
        file.read_exact_at(&mut block, from)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            from += at as u64 + 1;
            block.drain(..=at);
            block.append(&mut tail);
            return Ok((block, from));
        }
        block.append(&mut tail);
        tail = block;
        if tail.len() as u64 > record::MOST_BYTES {
            return Err(io::Error::other("its last line is longer than any record is"));
        }
    }
    Ok((tail, 0))
}
