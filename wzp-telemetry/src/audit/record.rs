//! A record as a line, and its place in the chain.
//!
//! The hash is SHA-256 over the bytes of the line up to, and without, `,"hash":`.
//! They contain `previous`, the hash of the record before, so a hash stands for
//! all records up to its own.

use std::fmt::Write;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wzp_untrusted::json;

use super::User;
use crate::settings::AuditEvent;

/// Whether something succeeded: the field `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did.
    Success,
    /// It did not, or was refused.
    Failure,
}

/// What a record tells, before it has its place.
#[derive(Debug)]
pub(super) struct Entry {
    /// The line up to its place: from `{"timestamp":` to the end of `details`.
    told: String,
}

/// The last record of a chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) hash: String,
}

/// What all chains begin with as `previous`.
pub(super) fn origin() -> Link {
    Link { sequence: 0, hash: "0".repeat(64) }
}

/// Longer than any record, in bytes: a reload's has all keys that were changed, of a
/// configuration of a megabyte at most.
pub(super) const MOST_BYTES: u64 = 16 << 20;

const BEFORE_HASH: &[u8] = br#","hash":""#;
const AFTER_HASH: &[u8] = br#""}"#;

impl Entry {
    pub(super) fn new(
        at: SystemTime,
        event: AuditEvent,
        user: &User,
        result: Outcome,
        details: &Value,
    ) -> Self {
        #[derive(Serialize)]
        struct Told<'a> {
            timestamp: String,
            event: AuditEvent,
            user: String,
            result: Outcome,
            details: &'a Value,
        }
        let timestamp = humantime::format_rfc3339_micros(at).to_string();
        let told = Told { timestamp, event, user: user.to_string(), result, details };
        // Strings and values always have a JSON form.
        let mut told = json::to_string(&told).unwrap_or_default();
        told.pop();
        Self { told }
    }

    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// The line, with its end, and what the next one continues.
    pub(super) fn after(&self, last: &Link) -> (String, Link) {
        let sequence = last.sequence.saturating_add(1);
        let told = &self.told;
        let mut line = format!(r#"{told},"sequence":{sequence},"previous":"{}""#, last.hash);
        let hash = hash(line.as_bytes());
        line += &format!(",\"hash\":\"{hash}\"}}\n");
        (line, Link { sequence, hash })
    }
}

/// What a line says about its place. The hash was checked.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) timestamp: String,
    pub(super) sequence: u64,
    pub(super) previous: String,
    pub(super) hash: String,
}

/// Checks a line, without its end, by itself.
pub(super) fn check(line: &[u8]) -> Result<Place, String> {
    let no_hash = || "it does not end with a hash".to_owned();
    let rest = line.strip_suffix(AFTER_HASH).ok_or_else(no_hash)?;
    let (rest, told_hash) = rest.split_last_chunk::<64>().ok_or_else(no_hash)?;
    let hashed = rest.strip_suffix(BEFORE_HASH).ok_or_else(no_hash)?;
    if hash(hashed).as_bytes() != told_hash {
        return Err("its hash does not fit what it says".into());
    }
    serde_json::from_slice(line).map_err(|error| format!("it is no record: {error}"))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_as_documented() {
        let at = humantime::parse_rfc3339("2025-12-01T10:00:00Z").unwrap();
        let details = serde_json::json!({"new_key_id": "def456", "old_key_id": "abc123"});
        let user = User::Peer { session: "7".into() };
        let entry = Entry::new(at, AuditEvent::KeyRotation, &user, Outcome::Success, &details);
        let (line, link) = entry.after(&origin());
        let zeros = "0".repeat(64);
        let hashed = format!(
            r#"{{"timestamp":"2025-12-01T10:00:00.000000Z","event":"key_rotation","user":"peer:7","result":"success","details":{{"new_key_id":"def456","old_key_id":"abc123"}},"sequence":1,"previous":"{zeros}""#
        );
        // By `printf %s "$hashed" | sha256sum`.
        let hash = "958e968c059c62b7391d024123420146b00ebeb08f2bf0593a08beb3c59a8b90";
        assert_eq!(line, format!("{hashed},\"hash\":\"{hash}\"}}\n"));
        assert_eq!(link, Link { sequence: 1, hash: hash.into() });
        assert_eq!(check(line.trim_end().as_bytes()).unwrap().sequence, 1);
    }
}
