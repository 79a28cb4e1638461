//! Tables for people.

use std::fmt::Write as _;

/// A column: its title, and a row's cell if the relay knows it.
pub(super) type Column<T> = (&'static str, fn(&T) -> Option<String>);

/// Rows under the titles, columns as wide as they must be. Columns of which the
/// relay knows nothing are left out.
pub(super) fn table<T>(columns: &[Column<T>], rows: &[T]) -> String {
    let mut lines = vec![String::new(); rows.len() + 1];
    for (title, cell) in columns {
        let cells: Vec<_> = rows.iter().map(cell).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into()));
        let cells: Vec<_> = std::iter::once((*title).to_owned()).chain(cells).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
    }
    lines.iter().fold(String::new(), |text, line| text + line.trim_end() + "\n")
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
}
