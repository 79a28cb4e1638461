//! Checking an audit log from its first line to its last, over all of its files.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use wzp_untrusted::file;

use super::record::{self, Place};

/// What an intact audit log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// When the first was made, RFC 3339; empty without records, as all else.
    pub first: String,
    /// When the last was made.
    pub last: String,
    /// The hash that the first continues: zeros, or the last one of an older file.
    pub previous: String,
    /// The hash of the last record, which stands for the whole file. Who keeps it
    /// elsewhere can tell later that no record was cut off.
    pub last_hash: String,
}

impl Verified {
    /// Whether it continues no older file.
    pub fn begins_chain(&self) -> bool {
        self.previous == record::origin().hash
    }
}

/// Why an audit log is not intact, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("cannot read the audit log {}: {error}", path.display())]
    Read {
        /// The file that the error is about.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It is not as it was written.
    #[error("{}, line {line}: {why}", path.display())]
    Tampered {
        /// The file that the error is about.
        path: PathBuf,
        /// The first bad line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Checks every record and the chain that they form. A file of any size is read
/// line by line. It may continue another one.
///
/// # Errors
/// The first line that is not as it was written, or that the file cannot be read.
pub fn verify(path: &Path) -> Result<Verified, VerifyError> {
    read(path, &mut None)
}

/// The same for files of which each continues the one before.
///
/// # Errors
/// Those of [`verify`], or that a file does not.
pub fn verify_in_order(paths: &[PathBuf]) -> Result<Vec<Verified>, VerifyError> {
    let mut before = None;
    paths.iter().map(|path| read(path, &mut before)).collect()
}

/// Checks a file that begins after `before`, and leaves there where it ends.
fn read(path: &Path, before: &mut Option<Place>) -> Result<Verified, VerifyError> {
    let unreadable = |error| VerifyError::Read { path: path.to_owned(), error };
    let mut file =
        BufReader::new(file::open(path, OpenOptions::new().read(true)).map_err(unreadable)?);
    let mut found = Verified::default();
    let mut line = Vec::new();
    while (&mut file).take(record::MOST_BYTES).read_until(b'\n', &mut line).map_err(unreadable)? > 0
    {
        let number = found.records + 1;
        let tampered = |why| VerifyError::Tampered { path: path.to_owned(), line: number, why };
        let place = check(&line, before.as_ref(), number == 1).map_err(tampered)?;
        if number == 1 {
            found.first.clone_from(&place.timestamp);
            found.previous.clone_from(&place.previous);
        }
        found.records = number;
        *before = Some(place);
        line.clear();
    }
    if let Some(last) = before.as_ref().filter(|_| found.records > 0) {
        found.last.clone_from(&last.timestamp);
        found.last_hash.clone_from(&last.hash);
    }
    Ok(found)
}

/// Whether a file that begins so was written before another that ends so. The clock may have
/// been set back; the chain cannot.
fn is_older(first: &Place, last: &Place) -> bool {
    first.previous != last.hash && first.timestamp < last.timestamp
}

fn check(line: &[u8], before: Option<&Place>, is_first: bool) -> Result<Place, String> {
    let line = line.strip_suffix(b"\n").ok_or("it has no end: cut off, or being written")?;
    let place = record::check(line)?;
    match before {
        Some(before) if is_first && is_older(&place, before) => Err(format!(
            "its first record is of {}, before the last of the file before it, of {}: the files \
             are not in order; give the oldest first",
            place.timestamp, before.timestamp
        )),
        Some(_) if is_first && place.previous == record::origin().hash => {
            Err("it begins a new chain, as a relay does that finds no file when it starts; \
                 verify the files from here on by themselves"
                .into())
        }
        Some(before) if is_first && before.hash != place.previous => {
            Err("it does not continue the file before: they are not in order, or one is missing \
                 between them, or records at the end of the other"
                .into())
        }
        Some(before) if before.hash != place.previous => {
            Err("it does not continue the line before: a record was deleted, added or moved".into())
        }
        Some(before) if before.sequence.checked_add(1) != Some(place.sequence) => Err(format!(
            "its sequence is {}, that of the line before {}",
            place.sequence, before.sequence
        )),
        None if place.sequence == 1 && place.previous != record::origin().hash => {
            Err("it is number 1 and yet continues another record".into())
        }
        None if place.sequence != 1 && place.previous == record::origin().hash => {
            Err(format!("it is number {} and yet continues nothing", place.sequence))
        }
        _ => Ok(place),
    }
}
