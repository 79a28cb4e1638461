//! The house as a picture: floors, each of which uses only those below it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::house::{CRATES, ROOMS};

/// What `docs/design.md` shows.
pub(crate) fn draw() -> String {
    let mut text = String::from("    crates\n");
    text += &floors(CRATES);
    for (name, rooms) in ROOMS {
        // Writing to a String does not fail.
        let _ = write!(text, "\n    rooms of {name}\n{}", floors(rooms));
    }
    text
}

/// The highest first.
fn floors(arrows: &[(&str, &[&str])]) -> String {
    let arrows: BTreeMap<_, _> = arrows.iter().copied().collect();
    let used = arrows.values().flat_map(|used| used.iter());
    let mut rows: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    let mut all: Vec<_> = arrows.keys().chain(used).copied().collect();
    all.sort_unstable();
    all.dedup();
    for one in all {
        rows.entry(floor(one, &arrows)).or_default().push(one);
    }
    rows.values().rev().map(|row| format!("      | {}\n", row.join("  "))).collect()
}

/// One above the highest that it uses.
fn floor(one: &str, arrows: &BTreeMap<&str, &[&str]>) -> usize {
    let used = arrows.get(one).copied().unwrap_or_default();
    used.iter().map(|lower| floor(lower, arrows) + 1).max().unwrap_or(0)
}
