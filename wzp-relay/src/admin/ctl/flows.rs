//! `wzp-relay ctl flows`: the busiest flows of a running relay, like top.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use wzp_untrusted::text::start_of_name;

use super::live::{self, Look, Space, View, rate, rest, short};
use super::table::{Column, fitting};
use crate::accounts::Flow;
use crate::words::{counted, sum};

/// What the table is sorted by, largest first; names by their letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// Bytes a second, both ways.
    #[default]
    Bytes,
    /// Packets a second, both ways.
    Packets,
    /// The room's name.
    Room,
    /// The peer's address.
    Peer,
}

/// How the flows are shown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// What to sort by
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortBy,

    #[command(flatten)]
    view: View,
}

impl Look for Flow {
    fn id(&self) -> &str {
        &self.session
    }
}

/// A flow and its rates between two looks.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    flow: Flow,
    rx_packets_per_second: f64,
    rx_bytes_per_second: f64,
    tx_packets_per_second: f64,
    tx_bytes_per_second: f64,
}

impl Row {
    fn between(before: Option<&Flow>, now: &Flow, seconds: f64) -> Self {
        let rate = |of: fn(&Flow) -> u64| rate(before.map(of), of(now), seconds);
        Self {
            rx_packets_per_second: rate(|flow| flow.rx_packets),
            rx_bytes_per_second: rate(|flow| flow.rx_bytes),
            tx_packets_per_second: rate(|flow| flow.tx_packets),
            tx_bytes_per_second: rate(|flow| flow.tx_bytes),
            flow: now.clone(),
        }
    }

    fn bytes(&self) -> f64 {
        self.rx_bytes_per_second + self.tx_bytes_per_second
    }

    fn packets(&self) -> f64 {
        self.rx_packets_per_second + self.tx_packets_per_second
    }
}

/// Shows the flows of the relay behind `socket` until Ctrl-C, or once.
///
/// # Errors
/// No relay is there, or its kernel does not count.
pub async fn show(socket: &Path, options: Options) -> Result<()> {
    let sort = |rows: &mut [Row]| sort(rows, options.sort);
    live::show(socket, "/flows", options.view, Row::between, sort, screen).await
}

fn sort(rows: &mut [Row], by: SortBy) {
    rows.sort_by(|a, b| match by {
        SortBy::Bytes => b.bytes().total_cmp(&a.bytes()),
        SortBy::Packets => b.packets().total_cmp(&a.packets()),
        SortBy::Room => a.flow.room.cmp(&b.flow.room),
        SortBy::Peer => a.flow.peer.cmp(&b.flow.peer),
    });
}

/// A row, and its share of all bytes in per cent.
type Shared = (Row, f64);

const COLUMNS: &[Column<Shared>] = &[
    ("PEER", |(row, _)| Some(row.flow.peer.clone())),
    ("ROOM", |(row, _)| Some(start_of_name(&row.flow.room, 20))),
    ("SESSION", |(row, _)| Some(row.flow.session.clone())),
    ("RX pkt/s", |(row, _)| Some(format!("{:.1}", row.rx_packets_per_second))),
    ("TX pkt/s", |(row, _)| Some(format!("{:.1}", row.tx_packets_per_second))),
    ("RX bit/s", |(row, _)| Some(short(row.rx_bytes_per_second * 8.0))),
    ("TX bit/s", |(row, _)| Some(short(row.tx_bytes_per_second * 8.0))),
    ("SHARE", |(_, share)| Some(format!("{share:.1}%"))),
];

/// What comes first where not all fit.
const FIRST: &[&str] =
    &["PEER", "SHARE", "RX bit/s", "TX bit/s", "RX pkt/s", "TX pkt/s", "SESSION"];

fn screen(rows: &[Row], Space { most, columns }: Space) -> String {
    let all = sum(rows.iter().map(Row::bytes));
    let share = |row: &Row| if all > 0.0 { row.bytes() / all * 100.0 } else { 0.0 };
    let head = format!(
        "{}, {} packets/s, {} bit/s\n",
        counted(rows.len(), "flow"),
        sum(rows.iter().map(Row::packets)).round(),
        short(all * 8.0),
    );
    let shown: Vec<_> = rows.iter().take(most).map(|row| (row.clone(), share(row))).collect();
    head + &fitting(COLUMNS, FIRST, &shown, columns) + &rest(rows.len(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: &str, room: &str, before: u64, now: u64) -> Row {
        let flow = |packets| Flow {
            session: session.into(),
            peer: format!("10.0.0.{packets}:1"),
            room: room.into(),
            rx_packets: packets,
            rx_bytes: packets * 100,
            tx_packets: packets * 2,
            tx_bytes: packets * 200,
        };
        Row::between(Some(&flow(before)), &flow(now), 2.0)
    }

    #[test]
    fn rates_are_those_of_the_interval_and_shares_add_up() {
        let rows = [row("a", "x", 10, 110), row("\x1bb\n", "evil\x1b[2J\n", 0, 300)];
        assert_eq!((rows[0].rx_packets_per_second, rows[0].tx_bytes_per_second), (50.0, 10_000.0));
        let table = |rows: &[Row], most| screen(rows, Space { most, columns: None });
        let text = table(&rows, 5);
        assert!(text.starts_with("2 flows, 600 packets/s, 480.0k bit/s\n"), "{text}");
        assert!(text.contains(" 25.0%\n") && text.contains(" 75.0%\n"), "{text}");
        assert!(
            text.contains(r"evil\u{1b}[2J\u{a} ")
                && text.contains(r" \u{1b}b\n ")
                && text.lines().count() == 4,
            "what a socket answers is not obeyed: {text}"
        );
        assert!(table(&rows, 1).contains("and 1 more"));
        assert!(table(&rows[..1], 1).starts_with("1 flow, 150 packets/s"));
        assert!(table(&[], 1).starts_with("0 flows, 0 packets/s, 0 bit/s\n"));
    }

    #[test]
    fn order_is_as_asked() {
        let mut rows = vec![row("a", "z", 0, 2), row("b", "y", 0, 9), row("c", "x", 0, 4)];
        let mut order = |by| {
            sort(&mut rows, by);
            rows.iter().map(|row| row.flow.session.clone()).collect::<String>()
        };
        assert_eq!(order(SortBy::Bytes), "bca");
        assert_eq!(order(SortBy::Packets), "bca");
        assert_eq!(order(SortBy::Room), "cba");
        assert_eq!(order(SortBy::Peer), "acb");
    }
}
