//! `wzp-relay ctl sessions`.

use std::time::Duration;

use wzp_untrusted::text;

use super::table::{Column, table};
use crate::admin::lists::SessionRow;
use crate::words::counted;

const COLUMNS: &[Column<SessionRow>] = &[
    ("SESSION", |row| Some(row.session.clone())),
    ("ROOM", |row| Some(text::start_of_name(&row.room, 24))),
    ("NAME", |row| row.name.as_ref().map(|name| text::start_of_name(name, 24))),
    ("PEER", |row| Some(row.peer.clone())),
    ("SHARD", |row| row.shard.map(|shard| shard.to_string())),
    ("AGE", |row| row.age_seconds.map(age)),
    ("RTT ms", |row| row.rtt_ms.map(|rtt| format!("{rtt:.1}"))),
    ("LOSS IN %", |row| row.loss_pct.map(|loss| format!("{loss:.1}"))),
    ("LOSS OUT %", |row| row.loss_out_pct.map(|loss| format!("{loss:.1}"))),
];

pub(super) fn list(rows: &[SessionRow]) -> String {
    counted(rows.len(), "session")
        + "\n"
        + &if rows.is_empty() { String::new() } else { table(COLUMNS, rows) }
}

/// Whole seconds, as in "2m 5s".
pub(super) fn age(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.max(0.0) as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_shown() {
        let known = SessionRow {
            session: "00000000000000ab".into(),
            room: "lobby".into(),
            peer: "192.0.2.1:5".into(),
            age_seconds: Some(125.9),
            ..SessionRow::default()
        };
        let unknown = SessionRow { age_seconds: None, ..known.clone() };
        assert_eq!(
            list(&[known, unknown]),
            "2 sessions\n\
             SESSION           ROOM   PEER         AGE\n\
             00000000000000ab  lobby  192.0.2.1:5  2m 5s\n\
             00000000000000ab  lobby  192.0.2.1:5  -\n"
        );
        assert_eq!(list(&[]), "0 sessions\n");
    }

    #[test]
    fn names_are_shown_and_not_obeyed() {
        let row = SessionRow {
            room: "evil\u{1b}[2J\n".into(),
            name: Some("a\u{202e}b".into()),
            ..SessionRow::default()
        };
        let text = list(&[row]);
        assert!(text.contains(r" evil\u{1b}[2J\u{a}  a\u{202e}b"), "{text}");
    }
}
