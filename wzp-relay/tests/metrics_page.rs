//! docs/metrics.md lists exactly the families that the relay exports.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use wzp_relay::config::Limits;
use wzp_relay::metrics::rooms::RoomCounts;
use wzp_relay::metrics::{Metrics, Sources};
use wzp_relay::session::admission::Admission;

/// Name, type and label names, as the relay exports them.
fn exported() -> BTreeSet<(String, String, String)> {
    let rooms = Arc::new(RoomCounts::new(10));
    let _room = rooms.open(&"room".into());
    let sources = Sources {
        shards: vec![Arc::default()],
        rooms,
        admission: Admission::new(&Limits::default()),
        draining: Arc::default(),
        log_lines_dropped: Arc::new(|| 0),
        started: Instant::now(),
    };
    let text = String::from_utf8(Metrics::new(sources).unwrap().text().unwrap()).unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let series = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let label = series.strip_prefix('{').and_then(|rest| rest.split_once('='));
            (name.into(), kind.into(), label.map(|(label, _)| label.into()).unwrap_or_default())
        })
        .collect()
}

/// The same, as the page's table has them.
fn documented() -> BTreeSet<(String, String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `wzp_"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(|cell| cell.trim().trim_matches('`').to_owned());
        let mut next = || cells.next().unwrap();
        (next(), next(), next())
    })
    .collect()
}

#[test]
fn the_page_lists_every_family_and_no_other() {
    assert_eq!(exported(), documented());
}
