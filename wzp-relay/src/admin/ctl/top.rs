//! `wzp-relay ctl top`: how the sessions of a running relay fare, like top.

use std::cmp::Ordering;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use wzp_untrusted::text;

use super::live::{self, Look, Space, View, rate, rest};
use super::table::{Column, fitting};
use crate::admin::lists::SessionRow;
use crate::words::{counted, sum};

/// What the table is sorted by: worst or largest first, names by their letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// The worse of the two losses.
    #[default]
    Loss,
    /// Loss on the way to the relay.
    LossIn,
    /// Loss on the way to the participant.
    LossOut,
    /// Round-trip time.
    Rtt,
    /// Jitter, as the participant reports it.
    Jitter,
    /// Frames a second, both ways.
    Rate,
    /// The longest in their room first.
    Age,
    /// The room's name.
    Room,
    /// The participant's name.
    Name,
    /// The peer's address.
    Peer,
}

/// How the sessions are shown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// What to sort by
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortBy,

    #[command(flatten)]
    view: View,
}

/// A session, and its rates between two looks.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    session: SessionRow,
    received_per_second: f64,
    forwarded_per_second: f64,
}

impl Look for SessionRow {
    fn id(&self) -> &str {
        &self.session
    }
}

impl Row {
    fn between(before: Option<&SessionRow>, now: &SessionRow, seconds: f64) -> Self {
        let rate = |of: fn(&SessionRow) -> Option<u64>| {
            rate(before.and_then(of), of(now).unwrap_or(0), seconds)
        };
        Self {
            received_per_second: rate(|row| row.frames_received),
            forwarded_per_second: rate(|row| row.frames_forwarded),
            session: now.clone(),
        }
    }

    fn frames(&self) -> f64 {
        self.received_per_second + self.forwarded_per_second
    }
}

const COLUMNS: &[Column<Row>] = &[
    ("SESSION", |row| Some(row.session.session.clone())),
    ("ROOM", |row| Some(text::start_of_name(&row.session.room, 20))),
    ("NAME", |row| row.session.name.as_ref().map(|name| text::start_of_name(name, 20))),
    ("PEER", |row| Some(row.session.peer.clone())),
    ("LOSS IN %", |row| row.session.loss_pct.map(tenths)),
    ("LOSS OUT %", |row| row.session.loss_out_pct.map(tenths)),
    ("RTT ms", |row| row.session.rtt_ms.map(tenths)),
    ("JITTER ms", |row| row.session.jitter_ms.map(tenths)),
    ("IN frames/s", |row| Some(tenths(row.received_per_second))),
    ("OUT frames/s", |row| Some(tenths(row.forwarded_per_second))),
];

/// What is looked at here comes first where not all fit: who it is, and how it fares.
const FIRST: &[&str] = &[
    "NAME",
    "LOSS IN %",
    "LOSS OUT %",
    "RTT ms",
    "JITTER ms",
    "IN frames/s",
    "OUT frames/s",
    "SESSION",
];

fn tenths(number: f64) -> String {
    format!("{number:.1}")
}

/// Shows the sessions of the relay behind `socket` until Ctrl-C, or once.
///
/// # Errors
/// No relay is there, or it refuses.
pub async fn show(socket: &Path, options: Options) -> Result<()> {
    let sort = |rows: &mut [Row]| sort(rows, options.sort);
    live::show(socket, "/sessions", options.view, Row::between, sort, screen).await
}

fn sort(rows: &mut [Row], by: SortBy) {
    // What is not known comes last.
    let largest = |a: Option<f64>, b: Option<f64>| {
        b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY))
    };
    let compare = |a: &Row, b: &Row| -> Ordering {
        let (one, other) = (&a.session, &b.session);
        let worse = |row: &SessionRow| {
            row.loss_pct.into_iter().chain(row.loss_out_pct).max_by(f64::total_cmp)
        };
        match by {
            SortBy::Loss => largest(worse(one), worse(other)),
            SortBy::LossIn => largest(one.loss_pct, other.loss_pct),
            SortBy::LossOut => largest(one.loss_out_pct, other.loss_out_pct),
            SortBy::Rtt => largest(one.rtt_ms, other.rtt_ms),
            SortBy::Jitter => largest(one.jitter_ms, other.jitter_ms),
            SortBy::Rate => largest(Some(a.frames()), Some(b.frames())),
            SortBy::Age => largest(one.age_seconds, other.age_seconds),
            SortBy::Room => one.room.cmp(&other.room),
            SortBy::Name => one.name.cmp(&other.name),
            SortBy::Peer => one.peer.cmp(&other.peer),
        }
    };
    rows.sort_by(compare);
}

fn screen(rows: &[Row], Space { most, columns }: Space) -> String {
    let head = format!(
        "{}, {:.1} frames/s in, {:.1} frames/s out\n",
        counted(rows.len(), "session"),
        sum(rows.iter().map(|row| row.received_per_second)),
        sum(rows.iter().map(|row| row.forwarded_per_second)),
    );
    let shown = rows.get(..most).unwrap_or(rows);
    head + &fitting(COLUMNS, FIRST, shown, columns) + &rest(rows.len(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(most: usize) -> Space {
        Space { most, columns: None }
    }

    fn look(name: &str, frames: u64, loss: Option<f64>, loss_out: Option<f64>) -> SessionRow {
        SessionRow {
            session: name.into(),
            room: "lobby".into(),
            peer: "192.0.2.1:5".into(),
            name: Some(name.into()),
            frames_received: Some(frames),
            frames_forwarded: Some(3 * frames),
            rtt_ms: Some(12.34),
            loss_pct: loss,
            loss_out_pct: loss_out,
            ..SessionRow::default()
        }
    }

    #[test]
    fn a_row_has_what_is_known_and_the_rates_of_the_interval() {
        let before = look("anna", 100, None, None);
        let rows = [
            Row::between(Some(&before), &look("anna", 200, Some(1.5), None), 2.0),
            Row::between(None, &look("ben\u{1b}", 3, None, None), 2.0),
        ];
        assert_eq!(
            screen(&rows, space(9)),
            "2 sessions, 51.5 frames/s in, 154.5 frames/s out\n\
             SESSION    ROOM   NAME       PEER         LOSS IN %  RTT ms  IN frames/s  OUT frames/s\n\
             anna       lobby  anna       192.0.2.1:5  1.5        12.3    50.0         150.0\n\
             ben\\u{1b}  lobby  ben\\u{1b}  192.0.2.1:5  -          12.3    1.5          4.5\n"
        );
        assert!(screen(&rows, space(1)).ends_with("150.0\nand 1 more (--most)\n"));
        assert_eq!(screen(&[], space(5)), "0 sessions, 0.0 frames/s in, 0.0 frames/s out\n");
    }

    #[test]
    fn eighty_columns_show_who_it_is_and_the_losses() {
        let rows = [Row::between(None, &look("anna", 1, Some(1.5), Some(22.5)), 1.0)];
        let narrow = screen(&rows, Space { most: 9, columns: Some(80) });
        assert_eq!(
            narrow.lines().nth(1).unwrap(),
            "NAME  LOSS IN %  LOSS OUT %  RTT ms  IN frames/s  OUT frames/s  SESSION  ROOM   PEER"
        );
        assert!(FIRST.iter().all(|first| COLUMNS.iter().any(|(title, _)| title == first)));
    }

    #[test]
    fn order_is_as_asked_and_what_is_unknown_comes_last() {
        let looks = [
            look("a", 5, None, None),
            look("b", 9, Some(1.0), Some(2.0)),
            look("c", 7, Some(3.0), None),
            look("d", 1, Some(0.0), Some(9.0)),
        ];
        let mut rows: Vec<_> = looks.iter().map(|look| Row::between(None, look, 1.0)).collect();
        let mut order = |by| {
            sort(&mut rows, by);
            rows.iter().map(|row| row.session.session.clone()).collect::<String>()
        };
        for (by, expected) in [
            (SortBy::Name, "abcd"),
            (SortBy::Loss, "dcba"),
            (SortBy::LossIn, "cbda"),
            (SortBy::LossOut, "dbca"),
            (SortBy::Rate, "bcad"),
        ] {
            assert_eq!(order(by), expected, "{by:?}");
        }
    }
}
