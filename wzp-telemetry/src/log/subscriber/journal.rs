//! Standard error that leads to systemd's journal: each line begins with its priority, as
//! sd-daemon(3) has it, which the journal takes off again (`SyslogLevelPrefix=`).

use std::io;
use std::os::fd::AsFd;

use rustix::fs::fstat;
use tracing::Level;

/// What systemd says of the stream that it made: device and inode, with a colon between.
const STREAM: &str = "JOURNAL_STREAM";

/// Whether standard error is the journal: a variable alone is inherited by whoever is
/// started with another standard error, too (systemd.exec(5)).
pub(super) fn is_stderr() -> bool {
    let told = std::env::var(STREAM).unwrap_or_default();
    is_stream(&told, io::stderr().as_fd())
}

fn is_stream(told: &str, file: impl AsFd) -> bool {
    let Some((device, inode)) = told.split_once(':') else { return false };
    let (Ok(device), Ok(inode)) = (device.parse::<u64>(), inode.parse::<u64>()) else {
        return false;
    };
    fstat(file).is_ok_and(|found| (found.st_dev, found.st_ino) == (device, inode))
}

/// The beginning of a line of that level.
pub(super) fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// How a line of that level begins on this process's standard error.
pub(crate) fn stderr_prefix(level: Level) -> &'static str {
    if is_stderr() { prefix(level) } else { "" }
}

/// What a program says on standard error beside its log, ready to be written there: with a
/// priority before each line if that is the journal.
pub fn for_stderr(level: Level, text: &str) -> String {
    let prefix = stderr_prefix(level);
    text.lines().map(|line| format!("{prefix}{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_systemd_names_is_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let found = fstat(&file).unwrap();
        let own = format!("{}:{}", found.st_dev, found.st_ino);
        assert!(is_stream(&own, &file));
        let other = format!("{}:{}", found.st_dev, found.st_ino + 1);
        for told in ["", ":", "1", "8:x", "-1:2", &other, &format!("{own}:1")] {
            assert!(!is_stream(told, &file), "{told}");
        }
    }
}
