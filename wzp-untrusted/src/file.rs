//! Files that are read whole: only regular ones, and no more than was expected.
//!
//! A device or a pipe in a file's place would fill the memory or keep its reader
//! waiting for ever. A symbolic link to a regular file is one, as Kubernetes and
//! certbot make them.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use thiserror::Error;

/// Longest private key, secret or token, in bytes: ten times what RSA-8192 needs.
pub const KEY_BYTES: u64 = 64 << 10;

/// Longest certificate chain, key set or configuration, in bytes.
pub const SETTINGS_BYTES: u64 = 1 << 20;

/// Why a file is not read. Comes inside of an [`io::Error`], whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// It is no file, but this.
    #[error("it is {0}, and a regular file is wanted")]
    Irregular(&'static str),
    /// It has more bytes than this.
    #[error("it has more than {0} bytes, so it cannot be what is wanted here")]
    TooLong(u64),
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

/// All bytes of a file of at most `most`.
///
/// # Errors
/// [`Unfit`], or what the system says.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // It may grow meanwhile, and files of /proc tell no length.
    look(path, most)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Unfit::TooLong(most).into());
    }
    Ok(bytes)
}

/// Opens a file of at most `most` bytes to be read: for a library that is given its path
/// and reads it whole, whatever it is.
///
/// # Errors
/// Those of [`read`].
pub fn look(path: &Path, most: u64) -> io::Result<File> {
    let file = open(path, OpenOptions::new().read(true))?;
    if file.metadata()?.len() > most {
        return Err(Unfit::TooLong(most).into());
    }
    Ok(file)
}

/// The same as [`read`], as text.
///
/// # Errors
/// Those of [`read`], or that it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Opens a regular file, without waiting for whom it may belong to. With
/// `create` it may be missing.
///
/// # Errors
/// [`Unfit::Irregular`], or what the system says.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // Before it is opened: that alone starts a watchdog and rewinds a tape.
    if let Ok(found) = fs::metadata(path) {
        check(found.file_type())?;
    }
    // What was put there since does not hold anybody up.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.clone().custom_flags(flags.bits().cast_signed()).open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

fn check(found: FileType) -> Result<(), Unfit> {
    irregular(found).map_or(Ok(()), |what| Err(Unfit::Irregular(what)))
}

/// What it is, if it is no regular file.
pub fn irregular(found: FileType) -> Option<&'static str> {
    match () {
        () if found.is_file() => None,
        () if found.is_dir() => Some("a folder"),
        () if found.is_fifo() => Some("a pipe"),
        () if found.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn unfit(error: &io::Error) -> Option<Unfit> {
        error.get_ref()?.downcast_ref().copied()
    }

    #[test]
    fn what_is_no_file_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        let cases = [
            (path(""), "a folder"),
            (path("pipe"), "a pipe"),
            (path("link"), "a pipe"),
            (path("socket"), "a socket"),
            ("/dev/zero".into(), "a device"),
            ("/dev/null".into(), "a device"),
        ];
        let read_only = OpenOptions::new().read(true).clone();
        let append = OpenOptions::new().append(true).create(true).clone();
        for (path, what) in cases {
            for options in [&read_only, &append] {
                let error = open(&path, options).unwrap_err();
                assert_eq!(unfit(&error), Some(Unfit::Irregular(what)), "{path:?}: {error}");
            }
        }
        let missing = read(&path("nothing"), 1).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn files_are_read_up_to_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        // As Kubernetes mounts a secret: NAME -> ..data/NAME, ..data -> ..DATE.
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..2026")).unwrap();
        fs::write(path("..2026/key"), "12345").unwrap();
        std::os::unix::fs::symlink("..2026", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/key", path("key")).unwrap();
        assert_eq!(read(&path("key"), 5).unwrap(), b"12345");
        assert_eq!(unfit(&read(&path("key"), 4).unwrap_err()), Some(Unfit::TooLong(4)));

        // Its length is not told.
        let status = Path::new("/proc/self/status");
        assert!(read_text(status, KEY_BYTES).unwrap().starts_with("Name:"));
        assert_eq!(unfit(&read(status, 10).unwrap_err()), Some(Unfit::TooLong(10)));

        // Nothing of it is read: it is larger than any memory.
        let huge = File::create(path("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert_eq!(
            unfit(&read(&path("huge"), 1 << 20).unwrap_err()),
            Some(Unfit::TooLong(1 << 20))
        );

        fs::write(path("binary"), [0xff]).unwrap();
        assert_eq!(read_text(&path("binary"), 9).unwrap_err().to_string(), "it is not UTF-8");
    }
}
