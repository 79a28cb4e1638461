//! Tables for people.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use wzp_untrusted::text;

/// A column: its title, and a row's cell if the relay knows it.
pub(super) type Column<T> = (&'static str, fn(&T) -> Option<String>);

/// Nothing in a cell steers what shows it, whoever has written it.
///
/// Rows under the titles, columns as wide as they must be. Columns of which the
/// relay knows nothing are left out.
pub(super) fn table<T>(columns: &[Column<T>], rows: &[T]) -> String {
    let columns: Vec<_> = columns.iter().collect();
    of(&columns, rows)
}

/// The same for a screen with so many columns. Where the lines are too long for it the
/// columns with those titles come `first`: the others are what will be cut off.
pub(super) fn fitting<T>(
    columns: &[Column<T>],
    first: &[&str],
    rows: &[T],
    screen: Option<usize>,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let whole = table(columns, rows);
    let fits = |columns| whole.lines().all(|line| width(line) <= columns);
    if screen.is_none_or(fits) {
        return whole;
    }
    let mut columns: Vec<_> = columns.iter().collect();
    let place = |title| first.iter().position(|first| *first == title);
    columns.sort_by_key(|(title, _)| place(*title).unwrap_or(usize::MAX));
    of(&columns, rows)
}

fn of<T>(columns: &[&Column<T>], rows: &[T]) -> String {
    let mut lines = vec![String::new(); rows.len() + 1];
    for (title, cell) in columns {
        let cells: Vec<_> = rows.iter().map(cell).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let cells = cells.into_iter().map(|cell| match cell {
            Some(cell) => text::line(&cell).to_string(),
            None => "-".into(),
        });
        let cells: Vec<_> = std::iter::once((*title).to_owned()).chain(cells).collect();
        let widest = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            *line += &cell;
            *line += &" ".repeat(widest - width(&cell) + 2);
        }
    }
    lines.iter().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Columns that the text takes on a screen: letters of some scripts take two, marks none.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// As much of a line as so many columns of a screen show. A line that goes on ends in `…`:
/// a part of a number would be another number.
pub(super) fn cut(line: &str, columns: usize) -> String {
    if width(line) <= columns {
        return line.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = if fits { left - width } else { 0 };
        fits
    };
    line.chars().take_while(fits).chain((columns > 0).then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_cells_and_unknown_ones_are_left_out() {
        let columns: [Column<(&str, Option<u32>)>; 3] = [
            ("NAME", |row| Some(row.0.into())),
            ("AGE", |_| None),
            ("N", |row| row.1.map(|n| n.to_string())),
        ];
        let text = table(&columns, &[("anna", Some(1000)), ("b", None)]);
        assert_eq!(text, "NAME  N\nanna  1000\nb     -\n");
        assert_eq!(table(&columns, &[]), "\n");
    }

    #[test]
    fn wide_letters_and_marks_keep_the_columns() {
        let columns: [Column<(&str, u32)>; 2] =
            [("NAME", |row| Some(row.0.into())), ("N", |row| Some(row.1.to_string()))];
        let rows = [("田中さん", 1), ("e\u{301}va", 2), ("anna", 3)];
        assert_eq!(
            table(&columns, &rows),
            "NAME      N\n田中さん  1\ne\u{301}va       2\nanna      3\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_what_comes_last() {
        let columns: [Column<(&str, u32)>; 2] =
            [("NAME", |row| Some(row.0.into())), ("N", |row| Some(row.1.to_string()))];
        let rows = [("somebody", 12345)];
        let fitted = |screen| fitting(&columns, &["N"], &rows, screen);
        for screen in [None, Some(15), Some(100)] {
            assert_eq!(fitted(screen), "NAME      N\nsomebody  12345\n");
        }
        assert_eq!(fitted(Some(14)), "N      NAME\n12345  somebody\n");
        assert_eq!(fitting(&columns, &["N"], &[], None), "");
    }

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it() {
        let cases = [
            ("", 0, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("田中さん", 8, "田中さん"),
            ("田中さん", 7, "田中さ…"),
            ("田中さん", 6, "田中…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ];
        for (line, columns, expected) in cases {
            assert_eq!(cut(line, columns), expected, "{line} in {columns}");
        }
    }

    #[test]
    fn a_cell_is_one_line_and_is_not_obeyed() {
        let columns: [Column<&str>; 1] = [("PEER", |row| Some((*row).into()))];
        let text = table(&columns, &["\u{1b}[2J\n\u{202e}x"]);
        assert_eq!(text, "PEER\n\\u{1b}[2J\\n\\u{202e}x\n");
    }
}
