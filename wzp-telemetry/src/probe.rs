//! Whether files could be made and written somewhere, found out without making them:
//! nothing is left behind that a program could stumble over later.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytesize::ByteSize;
use rustix::fs::{Mode, OFlags, statvfs};
use rustix::io::Errno;

use crate::links;

/// With less free space than this, in bytes, what a program keeps is soon lost.
pub const LEAST_FREE: u64 = 32 * 1024 * 1024;

/// The same in files: file systems have their number, too.
pub const LEAST_FILES: u64 = 64;

/// What is written to find out whether anything can be: a block of most file systems.
const BLOCK: [u8; 4096] = [b'.'; 4096];

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
        Ok(target) => unnamed(parent(&parent(path).join(target))).map(drop),
        Err(_) => folder(parent(path)),
    }
}

/// Whether files could be made in the folder, and it too where there is none.
///
/// # Errors
/// They could not, and what the system says.
pub fn folder(path: &Path) -> io::Result<()> {
    unnamed(nearest(path)).map(drop)
}

/// Whether what is kept at `path` could be written: some of it is, beside it, in a file that
/// has no name. Where this process may make none, only a file system that is full is told:
/// whether the file itself can be had is for [`file()`] and who opens it.
///
/// # Errors
/// It could not, and what the system says.
pub fn room(path: &Path) -> io::Result<()> {
    let path = links::resolve(path);
    let outcome = unnamed(nearest(parent(&path))).and_then(|mut file| {
        file.write_all(&BLOCK)?;
        // Some file systems look for the room only now.
        file.sync_data()
    });
    let Err(error) = outcome else { return Ok(()) };
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(error),
        _ => match statvfs(nearest(&path)) {
            Ok(found) if found.f_bavail == 0 => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        },
    }
}

/// What there will soon be too little of on the file system of `path`, in words.
pub fn shortage(path: &Path) -> Option<String> {
    let path = nearest(path);
    let found = statvfs(path).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    // Some file systems make room for files as they come, and count none.
    let files = (found.f_files > 0).then_some(found.f_favail);
    let path = path.display();
    if free < LEAST_FREE {
        return Some(format!("{} free in {path}", ByteSize(free).display().iec()));
    }
    let files = files.filter(|files| *files < LEAST_FILES)?;
    Some(format!("room for {files} more files in {path}"))
}

/// The path, or the folder that is nearest to it of those that are there.
pub fn nearest(path: &Path) -> &Path {
    let found = path.ancestors().map(or_here).find(|folder| fs::symlink_metadata(folder).is_ok());
    found.unwrap_or(Path::new("/"))
}

/// The folder that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    or_here(path.parent().unwrap_or(path))
}

fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Makes a file without a name, which is gone when it is closed.
fn unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Not every file system has them (open(2)).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => named(folder),
        Err(error) => Err(error.into()),
    }
}

fn named(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = folder.join(format!(".probe-{}-{number}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
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
