//! `wzp-relay ctl rooms`.

use wzp_untrusted::text;

use super::table::{Column, table};
use crate::admin::lists::RoomRow;
use crate::words::counted;

const COLUMNS: &[Column<RoomRow>] = &[
    ("ROOM", |row| Some(text::start_of_name(&row.room, 48))),
    ("MEMBERS", |row| Some(row.members.to_string())),
    ("PACKETS", |row| row.packets.map(|packets| packets.to_string())),
    ("BYTES", |row| row.bytes.map(|bytes| bytes.to_string())),
];

pub(super) fn list(rows: &[RoomRow]) -> String {
    counted(rows.len(), "room")
        + "\n"
        + &if rows.is_empty() { String::new() } else { table(COLUMNS, rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_shown_and_not_obeyed() {
        let row =
            RoomRow { room: "evil\u{202e}\u{1b}[2J\n".into(), members: 2, ..RoomRow::default() };
        assert_eq!(
            list(&[row]),
            "1 room\n\
             ROOM                        MEMBERS\n\
             evil\\u{202e}\\u{1b}[2J\\u{a}  2\n"
        );
    }
}
