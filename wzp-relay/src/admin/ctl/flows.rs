//! `wzp-relay ctl flows`: the busiest flows of a running relay, like top.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use hyper::Method;
use serde::Serialize;
use wzp_untrusted::json;
use wzp_untrusted::text::start_of_name;

use crate::admin::socket::{AskError, ask};
use crate::kernel::Flow;

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

    /// How many to show
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub most: usize,

    /// Time between two looks, in seconds
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,

    /// Show one table and end
    #[arg(long)]
    pub once: bool,

    /// Print one JSON array and end: totals and rates of all flows
    #[arg(long)]
    pub json: bool,
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
    fn between(before: Option<&Flow>, now: Flow, seconds: f64) -> Self {
        let rate = |of: fn(&Flow) -> u64| {
            // A flow that is new has all its packets from this interval.
            (of(&now).saturating_sub(before.map_or(0, of))) as f64 / seconds
        };
        Self {
            rx_packets_per_second: rate(|flow| flow.rx_packets),
            rx_bytes_per_second: rate(|flow| flow.rx_bytes),
            tx_packets_per_second: rate(|flow| flow.tx_packets),
            tx_bytes_per_second: rate(|flow| flow.tx_bytes),
            flow: now,
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
    let interval = Duration::from_secs(options.interval);
    let mut before = look(socket).await?;
    loop {
        let start = Instant::now();
        tokio::time::sleep(interval).await;
        let now = look(socket).await?;
        let seconds = start.elapsed().as_secs_f64();
        let known: HashMap<_, _> = before.iter().map(|flow| (&flow.session, flow)).collect();
        let mut rows: Vec<_> = now
            .iter()
            .map(|flow| Row::between(known.get(&flow.session).copied(), flow.clone(), seconds))
            .collect();
        sort(&mut rows, options.sort);
        let mut out = std::io::stdout().lock();
        if options.json {
            writeln!(out, "{}", json::to_string(&rows)?)?;
            return Ok(());
        }
        if !options.once && out.is_terminal() {
            // Cursor home, clear to the end: no flicker.
            write!(out, "\x1b[H\x1b[J")?;
        }
        write!(out, "{}", table(&rows, options.most))?;
        out.flush()?;
        if options.once {
            return Ok(());
        }
        before = now;
    }
}

async fn look(socket: &Path) -> Result<Vec<Flow>, AskError> {
    ask(socket, Method::GET, "/flows", &()).await
}

fn sort(rows: &mut [Row], by: SortBy) {
    rows.sort_by(|a, b| match by {
        SortBy::Bytes => b.bytes().total_cmp(&a.bytes()),
        SortBy::Packets => b.packets().total_cmp(&a.packets()),
        SortBy::Room => a.flow.room.cmp(&b.flow.room),
        SortBy::Peer => a.flow.peer.cmp(&b.flow.peer),
    });
}

fn table(rows: &[Row], most: usize) -> String {
    let all: f64 = rows.iter().map(Row::bytes).sum();
    let share = |row: &Row| if all > 0.0 { row.bytes() / all * 100.0 } else { 0.0 };
    let mut text = format!(
        "{} flows, {} packets/s, {} bit/s\n{:<44} {:<20} {:<16} {:>9} {:>9} {:>11} {:>11} {:>6}\n",
        rows.len(),
        rows.iter().map(Row::packets).sum::<f64>().round(),
        short(all * 8.0),
        "PEER",
        "ROOM",
        "SESSION",
        "RX pkt/s",
        "TX pkt/s",
        "RX bit/s",
        "TX bit/s",
        "SHARE",
    );
    for row in rows.iter().take(most) {
        let room = start_of_name(&row.flow.room, 20);
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<44} {room:<20} {:<16} {:>9.1} {:>9.1} {:>11} {:>11} {:>5.1}%",
            row.flow.peer,
            row.flow.session,
            row.rx_packets_per_second,
            row.tx_packets_per_second,
            short(row.rx_bytes_per_second * 8.0),
            short(row.tx_bytes_per_second * 8.0),
            share(row),
        );
    }
    if rows.len() > most {
        let _ = writeln!(text, "and {} more (--most)", rows.len() - most);
    }
    text
}

/// 12.3k, 4.56M: three digits.
fn short(value: f64) -> String {
    match value {
        1e9.. => format!("{:.2}G", value / 1e9),
        1e6.. => format!("{:.2}M", value / 1e6),
        1e3.. => format!("{:.1}k", value / 1e3),
        _ => format!("{value:.0}"),
    }
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
        Row::between(Some(&flow(before)), flow(now), 2.0)
    }

    #[test]
    fn rates_are_those_of_the_interval_and_shares_add_up() {
        let rows = [row("a", "x", 10, 110), row("b", "evil\x1b[2J\n", 0, 300)];
        assert_eq!((rows[0].rx_packets_per_second, rows[0].tx_bytes_per_second), (50.0, 10_000.0));
        let text = table(&rows, 5);
        assert!(text.starts_with("2 flows, 600 packets/s, 480.0k bit/s\n"), "{text}");
        assert!(text.contains(" 25.0%") && text.contains(" 75.0%"), "{text}");
        assert!(
            text.contains(r"evil\u{1b}[2J\u{a} ") && text.lines().count() == 4,
            "a room's name is not obeyed: {text}"
        );
        assert!(table(&rows, 1).contains("and 1 more"));
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
