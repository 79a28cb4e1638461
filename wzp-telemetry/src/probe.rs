//! Whether files could be made somewhere, found out without making them: nothing is left
//! behind that a program could stumble over later.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Whether a file could be made at `path`, with its folders where there are none. One that
/// is there already is left to who opens it.
///
/// # Errors
/// It could not, and what the system says.
pub fn file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match fs::read_link(path) {
        // It would be made where the link leads, in a folder that has to be there.
        Ok(target) => unnamed(parent(&parent(path).join(target))),
        Err(_) => folder(parent(path)),
    }
}

/// Whether files could be made in the folder, and it too where there is none.
///
/// # Errors
/// They could not, and what the system says.
pub fn folder(path: &Path) -> io::Result<()> {
    let nearest = path.ancestors().map(or_here).find(|folder| fs::symlink_metadata(folder).is_ok());
    unnamed(nearest.unwrap_or(Path::new("/")))
}

/// The folder that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    or_here(path.parent().unwrap_or(path))
}

fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Makes a file without a name, which is gone when it is closed.
fn unnamed(folder: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // Not every file system has them (open(2)).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => named(folder),
        Err(error) => Err(error.into()),
    }
}

fn named(folder: &Path) -> io::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = folder.join(format!(".probe-{}-{number}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_could_be_made_is_told_and_nothing_is() {
        let place = tempfile::tempdir().unwrap();
        let here = |name: &str| place.path().join(name);
        fs::write(here("a-file"), "").unwrap();
        symlink("nowhere/file", here("dangling")).unwrap();
        symlink("new-file", here("to-a-new-file")).unwrap();
        let long = "n".repeat(256);
        for (path, can) in [
            (here("new"), true),
            (here("deep/er/new"), true),
            (here("a-file"), true),
            (here("to-a-new-file"), true),
            (here("dangling"), false),
            (here("a-file/below"), false),
            (here("a-file/below/deep"), false),
            (here(&long), false),
            ("/proc/x/relay.log".into(), false),
            ("/proc/relay.log".into(), false),
        ] {
            assert_eq!(file(&path).is_ok(), can, "{}: {:?}", path.display(), file(&path));
        }
        assert!(folder(Path::new("target-that-is-not-there")).is_ok(), "from here on");
        let mut left: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a-file", "dangling", "to-a-new-file"]);
    }
}
