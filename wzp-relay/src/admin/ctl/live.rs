//! Lists that are looked at again and again, like top: what is common to `flows` and
//! `top`.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use hyper::Method;
use rustix::termios::{Winsize, tcgetwinsize};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wzp_untrusted::json;

use super::table::cut;
use crate::admin::socket::ask;
use crate::output::Output;
use crate::words::thousandths;

/// How a list is shown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct View {
    /// How many to show at most [default: as many as fit on the terminal, or else 20]
    #[arg(long, value_name = "N")]
    most: Option<usize>,

    /// Time between two looks, in seconds
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    /// Show one table and end
    #[arg(long)]
    once: bool,

    /// Print one JSON array and end, of all and not only of those that are shown
    #[arg(long)]
    json: bool,
}

/// What a list tells at one look, known again at the next one.
pub(super) trait Look: DeserializeOwned {
    fn id(&self) -> &str;
}

/// Rows of a list that nobody said the length of.
const MOST: usize = 20;

/// Lines above the rows of a list: a sum, and the titles.
const HEAD: usize = 2;

/// What a list may take up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Rows that there is room for.
    pub(super) most: usize,
    /// Columns of the screen; none where there is no end to them.
    pub(super) columns: Option<usize>,
}

/// A list of what was asked at `path`, again and again until Ctrl-C, or once. `row` makes
/// one of two looks at the same and the seconds between them, the first look being absent
/// for what is new; `sort` puts them in order and `text` makes a table of them that fits.
///
/// # Errors
/// No relay is there, it refuses, or what was printed could not be.
pub(super) async fn show<L: Look, R: Serialize>(
    socket: &Path,
    path: &str,
    view: View,
    row: impl Fn(Option<&L>, &L, f64) -> R,
    sort: impl Fn(&mut [R]),
    text: impl Fn(&[R], Space) -> String,
) -> Result<()> {
    let look = async || ask::<Vec<L>>(socket, Method::GET, path, &()).await;
    let mut before = look().await?;
    loop {
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(view.interval)).await;
        let now = look().await?;
        let seconds = start.elapsed().as_secs_f64();
        let known: HashMap<_, _> = before.iter().map(|look| (look.id(), look)).collect();
        let rows = now.iter().map(|look| row(known.get(look.id()).copied(), look, seconds));
        let mut rows: Vec<_> = rows.collect();
        sort(&mut rows);
        let mut out = Output::new();
        if view.json {
            writeln!(out, "{}", json::to_string(&rows)?)?;
            return Ok(());
        }
        let screen = tcgetwinsize(&out).ok().filter(|_| !view.once);
        match screen {
            // Cursor home, clear to the end: no flicker.
            Some(size) => write!(out, "\x1b[H\x1b[J{}", page(&rows, view.most, size, &text))?,
            None => {
                let most = view.most.unwrap_or(MOST);
                write!(out, "{}", text(&rows, Space { most, columns: None }))?;
            }
        }
        out.flush()?;
        if view.once {
            return Ok(());
        }
        before = now;
    }
}

/// A list that neither scrolls nor wraps on a screen of that size: its worst are on top.
fn page<R>(
    rows: &[R],
    most: Option<usize>,
    size: Winsize,
    text: impl Fn(&[R], Space) -> String,
) -> String {
    let Winsize { ws_row, ws_col, .. } = size;
    // A terminal that does not say takes what any can show.
    let or = |number: u16, usual: usize| if number == 0 { usual } else { number.into() };
    let (lines, columns) = (or(ws_row, 24), or(ws_col, 80));
    // The cursor stands on the last.
    let lines = (lines - 1).max(1);
    let room = lines.saturating_sub(HEAD);
    let most = most.unwrap_or(usize::MAX).min(room);
    // Where some are left out a line says so.
    let most = if rows.len() <= most { most } else { most.min(room.saturating_sub(1)) };
    let text = text(rows, Space { most, columns: Some(columns) });
    let lines = text.lines().take(lines);
    lines.map(|line| cut(line, columns) + "\n").collect()
}

/// What was added to a total, a second. What is new has all of it from this interval.
pub(super) fn rate(before: Option<u64>, now: u64, seconds: f64) -> f64 {
    thousandths(now.saturating_sub(before.unwrap_or(0)) as f64 / seconds)
}

/// The last line, if not all are shown.
pub(super) fn rest(all: usize, most: usize) -> String {
    match all.saturating_sub(most) {
        0 => String::new(),
        more => format!("and {more} more (--most)\n"),
    }
}

/// 12.3k, 4.56M: three digits.
pub(super) fn short(value: f64) -> String {
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
    use crate::admin::ctl::table::{Column, fitting, width};

    const COLUMNS: &[Column<usize>] = &[
        ("NAME", |row| Some(format!("{row} 名前{}", "x".repeat(*row)))),
        ("NUMBER", |row| Some(row.to_string())),
    ];

    /// What is seen of so many rows.
    fn seen(rows: usize, most: Option<usize>, (ws_row, ws_col): (u16, u16)) -> Vec<String> {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let rows: Vec<usize> = (0..rows).collect();
        let text = |rows: &[usize], Space { most, columns }: Space| {
            let shown = &rows[..most.min(rows.len())];
            let table = fitting(COLUMNS, &["NUMBER"], shown, columns);
            format!("{} rows\n{table}{}", rows.len(), rest(rows.len(), most))
        };
        page(&rows, most, size, text).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_page_fits_the_screen() {
        let cases = [
            // Rows, how many are wanted, the screen, how many are seen.
            (30, None, (24, 80), 20),
            (21, None, (24, 80), 21),
            (22, None, (24, 80), 20),
            (300, None, (100, 300), 96),
            (30, Some(5), (24, 80), 5),
            (30, Some(21), (24, 80), 20),
            (30, None, (0, 0), 20),
            (30, None, (4, 3), 0),
            (0, None, (24, 80), 0),
        ];
        for (rows, most, screen, shown) in cases {
            let lines = seen(rows, most, screen);
            let (height, columns) = if screen.0 == 0 { (24, 80) } else { screen };
            assert!(lines.len() < usize::from(height), "{rows} on {screen:?}: {lines:#?}");
            assert!(lines.iter().all(|line| width(line) <= columns.into()), "{lines:#?}");
            let told = usize::from(shown < rows);
            let head = if shown > 0 { HEAD } else { 1 };
            assert_eq!(lines.len(), head.min(lines.len()) + shown + told, "{rows} on {screen:?}");
        }
        let lines = seen(30, None, (24, 80));
        assert_eq!((&lines[0][..], &lines[22][..]), ("30 rows", "and 10 more (--most)"));
        for tiny in [(1, 1), (2, 1), (1, 80)] {
            assert_eq!(seen(30, None, tiny).len(), 1);
        }
    }
}
