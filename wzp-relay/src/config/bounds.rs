//! Bounds of single values: written once, for the check, the schema and the reference.

use super::problem::Complaint;
use super::range::Range;
use super::values::Values;
use super::{auth, limits, sections};

/// All keys with bounds.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Range)> {
    sections::RANGES.into_iter().chain(limits::RANGES).chain(auth::RANGES)
}

/// That of a key, if it has one.
pub(super) fn of(key: &str) -> Option<Range> {
    all().find(|(bounded, _)| *bounded == key).map(|(_, range)| range)
}

/// What is out of its bounds.
pub(super) fn check(values: &Values) -> impl Iterator<Item = Complaint> {
    all().filter_map(|(key, range)| {
        let value = values.get(key).filter(|value| !range.holds(value))?;
        Some(Complaint::new([key], format!("{value} is out of bounds; allowed is {range}")))
    })
}
