//! `wzp-relay ctl rooms`.

use super::table::{Column, printable, table};
use crate::admin::lists::RoomRow;

const COLUMNS: &[Column<RoomRow>] = &[
    ("ROOM", |row| Some(printable(&row.room, 48))),
    ("MEMBERS", |row| Some(row.members.to_string())),
    ("PACKETS", |row| row.packets.map(|packets| packets.to_string())),
    ("BYTES", |row| row.bytes.map(|bytes| bytes.to_string())),
];

pub(super) fn list(rows: &[RoomRow]) -> String {
    format!("{} rooms\n", rows.len())
        + &if rows.is_empty() { String::new() } else { table(COLUMNS, rows) }
}
