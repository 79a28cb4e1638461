//! Where a recording goes, before there is anything to record: nothing that was
//! there is touched until the recording begins.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Recording, RecordingError, header};

/// A file that can be written and is empty so far, but for its header.
pub struct Prepared {
    name: String,
    place: Place,
}

enum Place {
    /// In the folder of the file that it will be. Removed unless it becomes that.
    Beside(NamedTempFile, PathBuf),
    /// What has no content to be lost: a pipe, a device.
    Stream(File),
}

impl Prepared {
    /// Prepares a recording to `path`, so that a wrong path, a lack of permission
    /// or of space are known at once. A named pipe is waited for until somebody
    /// reads from it.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn beside(path: &Path) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        match prepare(path) {
            Ok(place) => Ok(Self { name, place }),
            Err(source) => Err(RecordingError::Write { name, source }),
        }
    }

    /// Prepares a recording to a pipe, such as standard output; `name` is how
    /// errors call it.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn stream(name: &str, pipe: impl AsFd) -> Result<Self, RecordingError> {
        let file = pipe.as_fd().try_clone_to_owned().map(File::from).and_then(begun_stream);
        match file {
            Ok(file) => Ok(Self { name: name.to_owned(), place: Place::Stream(file) }),
            Err(source) => Err(RecordingError::Write { name: name.to_owned(), source }),
        }
    }

    /// Puts the recording in its place, instead of what was there.
    ///
    /// # Errors
    /// [`RecordingError::Write`]; what was there is still there.
    pub fn begin(self) -> Result<Recording, RecordingError> {
        let Self { name, place } = self;
        match place {
            Place::Stream(file) => Ok(Recording::new(name, file, true)),
            Place::Beside(file, path) => match file.persist(path) {
                Ok(file) => Ok(Recording::new(name, file, false)),
                Err(error) => Err(RecordingError::Write { name, source: error.error }),
            },
        }
    }
}

fn prepare(path: &Path) -> io::Result<Place> {
    // Links stay links: what they lead to is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // One who may not write to a file must not replace it either.
    let there = match OpenOptions::new().write(true).open(&target) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let permissions = match there {
        Some(file) => {
            let found = file.metadata()?;
            if !found.is_file() {
                return begun_stream(file).map(Place::Stream);
            }
            Some(found.permissions())
        }
        None => None,
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    folder.metadata()?;
    let mut file = tempfile::Builder::new()
        .prefix(".recording-")
        .suffix(".part")
        // What the user's mask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        // The name beside means nothing to anybody.
        .map_err(|error| io::Error::from(error.kind()))?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.write_all(&header(Some(0)))?;
    Ok(Place::Beside(file, target))
}

fn begun_stream(mut file: File) -> io::Result<File> {
    file.write_all(&header(None))?;
    Ok(file)
}
