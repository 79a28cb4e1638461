//! `wzp-relay ctl status`: one screen.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::sessions::age;
use crate::admin::lists::{DrainStatus, Status};

pub(super) fn screen(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<13} {value}");
    };
    line("relay", format!("wzp-relay {}, process {}", status.version, status.pid));
    line("up", age(status.uptime_seconds));
    let ready = if status.ready { "ready" } else { "takes nobody in" };
    line("health", format!("{}, {ready}", status.health));
    if let Some(drain) = &status.drain {
        line("drain", describe(drain));
    }
    line("sessions", format!("{} in {} rooms", status.sessions, status.rooms));
    line("pending", format!("{} connections not in a room", status.pending_connections));
    line("listens on", format!("{}, {} shards", status.listen, status.shards));
    line("counted by", status.forwarded_source.clone());
    line("fingerprint", status.fingerprint.clone());
    line("expires", date(status.certificate_expires));
    text
}

fn describe(drain: &DrainStatus) -> String {
    let left = match drain.remaining_seconds {
        seconds if seconds > 0.0 => format!("those left are closed in {}", age(seconds)),
        _ => "those left were closed".to_owned(),
    };
    let then = match (drain.exits, drain.can_be_taken_back) {
        (false, _) => "the relay stays; undrain takes people in again",
        (true, true) => "then the relay ends, unless undrain comes first",
        (true, false) => "then the relay ends",
    };
    format!("{left}; {then}")
}

/// A time of a certificate, in seconds since 1970.
pub(crate) fn date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    // What a certificate can say ends with the year 9999, as this does.
    UNIX_EPOCH
        .checked_add(since)
        .map_or_else(|| "never".into(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_tells_what_comes_after_it() {
        let cases = [
            (12.5, false, true, "closed in 12s; the relay stays"),
            (0.0, false, true, "were closed; the relay stays"),
            (1.0, true, true, "unless undrain"),
            (1.0, true, false, "then the relay ends"),
        ];
        for (remaining_seconds, exits, can_be_taken_back, expected) in cases {
            let text = describe(&DrainStatus { remaining_seconds, exits, can_be_taken_back });
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_certificates() {
        assert_eq!(date(67_090_118_400), "4096-01-01T00:00:00Z");
        assert_eq!(date(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(date(-1), "1970-01-01T00:00:00Z");
    }
}
