//! Files that were put aside: their names, their compression, their end.
//!
//! `relay.log` becomes `relay-20261125T101112.131415Z.log`, and that becomes
//! `….log.gz` by way of `….log.gz.tmp`. Where both a plain file and a `.gz` of a
//! name exist, the `.gz` is whole: the plain one is deleted last.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use wzp_untrusted::file;

/// When a file was put aside, as its name tells. Sorts by time.
const STAMP: &str = "20261125T101112.131415Z";

/// The last time that a name can tell.
const LAST: &str = "99991231T235959.999999Z";

/// The files that were put aside for one log file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backups {
    folder: PathBuf,
    /// What comes before the time, `relay-`, and after it, `.log`.
    prefix: String,
    suffix: String,
}

/// How long and in which form they are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Keep {
    pub(super) count: Option<u32>,
    pub(super) age: Option<Duration>,
    pub(super) compressed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Forms {
    plain: bool,
    gzip: bool,
    partial: bool,
}

impl Backups {
    pub(super) fn of(log: &Path) -> Self {
        let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            prefix: text(log.file_stem()).unwrap_or_default() + "-",
            suffix: text(log.extension()).map(|end| format!(".{end}")).unwrap_or_default(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name that sorts behind all that exist, even when the clock was set back;
    /// behind [`LAST`] there is none.
    pub(super) fn next(&self, now: SystemTime) -> io::Result<PathBuf> {
        let found = self.list()?;
        let last =
            found.last_key_value().map(|(last, _)| last.as_str()).filter(|last| *last < LAST);
        let after_last = last.and_then(|last| time(last)?.checked_add(Duration::from_micros(1)));
        let at = after_last.map_or(now, |after| after.max(now));
        Ok(self.path(&stamp(at), ""))
    }

    /// Finishes what a kill left behind, deletes what is too old or too much,
    /// compresses the rest. `stop` ends it early, at a place where a kill may be.
    pub(super) fn tidy(&self, keep: Keep, now: SystemTime, stop: &AtomicBool) -> io::Result<()> {
        let mut kept = Vec::new();
        for (number, (stamp, forms)) in self.list()?.into_iter().rev().enumerate() {
            let old = || time(&stamp).and_then(|at| now.duration_since(at).ok());
            let too_many = keep.count.is_some_and(|count| number >= count as usize);
            let too_old = keep.age.is_some_and(|age| old().is_some_and(|old| old > age));
            let expired = too_many || too_old;
            if forms.partial {
                fs::remove_file(self.path(&stamp, ".gz.tmp"))?;
            }
            if forms.plain && (expired || forms.gzip) {
                fs::remove_file(self.path(&stamp, ""))?;
            }
            if forms.gzip && expired {
                fs::remove_file(self.path(&stamp, ".gz"))?;
            }
            if forms.plain && !forms.gzip && !expired {
                kept.push(stamp);
            }
        }
        if keep.compressed {
            for stamp in kept.iter().rev() {
                self.compress(stamp, stop)?;
            }
        }
        Ok(())
    }

    fn compress(&self, stamp: &str, stop: &AtomicBool) -> io::Result<()> {
        let plain_path = self.path(stamp, "");
        let partial_path = self.path(stamp, ".gz.tmp");
        let mut plain = file::open(&plain_path, OpenOptions::new().read(true))?;
        let partial = OpenOptions::new().write(true).create_new(true).open(&partial_path)?;
        partial.set_permissions(plain.metadata()?.permissions())?;
        let mut gzip = GzEncoder::new(partial, Compression::default());
        let mut block = vec![0; 64 << 10];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match plain.read(&mut block)? {
                0 => break,
                length => gzip.write_all(&block[..length])?,
            }
        }
        gzip.finish()?.sync_all()?;
        fs::rename(partial_path, self.path(stamp, ".gz"))?;
        File::open(&self.folder)?.sync_all()?;
        fs::remove_file(plain_path)
    }

    fn path(&self, stamp: &str, form: &str) -> PathBuf {
        self.folder.join(format!("{}{stamp}{}{form}", self.prefix, self.suffix))
    }

    fn list(&self) -> io::Result<BTreeMap<String, Forms>> {
        let mut found: BTreeMap<String, Forms> = BTreeMap::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            other => other?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some((stamp, form)) = name.to_str().and_then(|name| self.parse(name)) else {
                continue;
            };
            let forms = found.entry(stamp.to_owned()).or_default();
            match form {
                "" => forms.plain = true,
                ".gz" => forms.gzip = true,
                ".gz.tmp" => forms.partial = true,
                _ => {}
            }
        }
        Ok(found)
    }

    /// Whether that is the name of one of these files.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parse(name).is_some()
    }

    /// The time and the form in a name, if it is one of these files'.
    fn parse<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = name.strip_prefix(&self.prefix)?;
        let (stamp, rest) = rest.split_at_checked(STAMP.len())?;
        let form = rest.strip_prefix(&self.suffix)?;
        (time(stamp).is_some() && matches!(form, "" | ".gz" | ".gz.tmp")).then_some((stamp, form))
    }
}

fn stamp(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string().replace(['-', ':'], "")
}

fn time(stamp: &str) -> Option<SystemTime> {
    let (date, clock) = (stamp.get(..8)?, stamp.get(9..)?);
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, second) = (clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}");
    humantime::parse_rfc3339(&text).ok().filter(|_| stamp.len() == STAMP.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO: AtomicBool = AtomicBool::new(false);

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn unpacked(path: PathBuf) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn names_are_told_from_those_of_other_files() {
        let backups = Backups::of(Path::new("/var/log/relay.log"));
        let bare = Backups::of(Path::new("relay"));
        for (backups, name, expected) in [
            (&backups, "relay-20261125T101112.131415Z.log", Some(STAMP)),
            (&backups, "relay-20261125T101112.131415Z.log.gz", Some(STAMP)),
            (&backups, "relay-20261125T101112.131415Z.log.gz.tmp", Some(STAMP)),
            (&bare, "relay-20261125T101112.131415Z", Some(STAMP)),
            (&backups, "relay.log", None),
            (&backups, "relay.log.lock", None),
            (&backups, "relay-20261325T101112.131415Z.log", None),
            (&backups, "relay-20261125T101112.131415Z.log.1", None),
            (&backups, "relay-20261125T101112.131415Z.txt", None),
            (&backups, "relay-admin.log", None),
            (&backups, "relay-ä0261125T101112.131415Z.log", None),
            (&bare, "relay-20261125T101112.131415Z.log", None),
        ] {
            assert_eq!(backups.parse(name).map(|(stamp, _)| stamp), expected, "{name}");
        }
        assert_eq!(stamp(time(STAMP).unwrap()), STAMP);
        assert_eq!(bare.folder(), Path::new("."));
    }

    #[test]
    fn a_name_sorts_behind_all_others_when_the_clock_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let backups = Backups::of(&folder.path().join("a.log"));
        let earlier = time(STAMP).unwrap() - Duration::from_secs(3600);
        fs::write(backups.path(STAMP, ".gz"), "").unwrap();
        let next = backups.next(earlier).unwrap();
        assert_eq!(next, folder.path().join("a-20261125T101112.131416Z.log"));
        fs::write(backups.path(LAST, ""), "").unwrap();
        let next = backups.next(earlier).unwrap();
        assert_eq!(next, folder.path().join("a-20261125T091112.131415Z.log"));
    }

    #[test]
    fn what_a_kill_left_behind_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let backups = Backups::of(&folder.path().join("a.log"));
        let keep = Keep { count: None, age: None, compressed: true };
        // Killed while compressing; after the rename; before anything.
        let stamps = [STAMP, "20261125T101112.131416Z", "20261125T101112.131417Z"];
        fs::write(backups.path(stamps[0], ""), "one").unwrap();
        fs::write(backups.path(stamps[0], ".gz.tmp"), "half").unwrap();
        fs::write(backups.path(stamps[1], ""), "two").unwrap();
        let mut whole = GzEncoder::new(Vec::new(), Compression::fast());
        whole.write_all(b"two").unwrap();
        fs::write(backups.path(stamps[1], ".gz"), whole.finish().unwrap()).unwrap();
        fs::write(backups.path(stamps[2], ""), "three").unwrap();

        backups.tidy(keep, time(STAMP).unwrap(), &GO).unwrap();
        assert_eq!(names(folder.path()), stamps.map(|stamp| format!("a-{stamp}.log.gz")));
        let texts = stamps.map(|stamp| unpacked(backups.path(stamp, ".gz")));
        assert_eq!(texts, ["one", "two", "three"]);
    }

    #[test]
    fn the_oldest_and_the_too_old_go() {
        let stamps = |folder: &Path, keep, hours: u64| {
            let backups = Backups::of(&folder.join("a.log"));
            let first = time(STAMP).unwrap();
            for number in 0..5 {
                let at = stamp(first + Duration::from_secs(3600 * number));
                fs::write(backups.path(&at, ""), "line\n").unwrap();
            }
            fs::write(folder.join("a.log"), "").unwrap();
            fs::write(folder.join("another-file.log"), "").unwrap();
            backups.tidy(keep, first + Duration::from_secs(3600 * hours), &GO).unwrap();
            names(folder).iter().filter(|name| backups.parse(name).is_some()).count()
        };
        let hour = Duration::from_secs(3600);
        for (count, age, hours, left) in [
            (None, None, 1_000_000, 5),
            (Some(3), None, 4, 3),
            (Some(5), None, 4, 5),
            // At the end of its age a file is still kept.
            (None, Some(2 * hour), 4, 3),
            (Some(1), Some(2 * hour), 4, 1),
            (None, Some(hour), 100, 0),
        ] {
            for compressed in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let keep = Keep { count, age, compressed };
                assert_eq!(stamps(folder.path(), keep, hours), left, "{keep:?}");
                assert!(names(folder.path()).contains(&"another-file.log".to_owned()));
            }
        }
    }
}
