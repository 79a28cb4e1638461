//! docs/metrics.md lists exactly the families that the relay exports.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

use std::collections::BTreeSet;

use wzp_relay::metrics::catalogue;

/// Name, type and labels of each row of the page's tables.
fn documented() -> BTreeSet<(String, String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let families = ["| `wzp_", "| `wraith_", "| `process_"];
    let rows = page.lines().filter(|line| families.iter().any(|prefix| line.starts_with(prefix)));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(|cell| cell.trim().replace('`', ""));
        let mut next = || cells.next().unwrap();
        (next(), next(), next())
    })
    .collect()
}

#[test]
fn the_page_lists_every_family_and_no_other() {
    let exported: BTreeSet<_> = catalogue()
        .map(|(name, kind, labels)| (name.to_owned(), kind.to_owned(), labels.join(", ")))
        .collect();
    assert_eq!(exported, documented());
}
