//! Bounds of single values: written once, for the check, the schema and the
//! reference.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::json;
use toml::Value;
use wzp_telemetry::settings::{duration, size};

use super::problem::Complaint;
use super::values::Values;
use super::{auth, limits, sections};

/// The least and the most that a key may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Range {
    Number(u64, u64),
    Time(Duration, Duration),
    /// None, or at least so many bytes.
    Size(u64),
    /// 0 to 1.
    Share,
}

/// All keys with bounds.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Range)> {
    sections::RANGES.into_iter().chain(limits::RANGES).chain(auth::RANGES)
}

impl Range {
    pub(super) fn of(key: &str) -> Option<Self> {
        all().find(|(bounded, _)| *bounded == key).map(|(_, range)| range)
    }

    /// Also false for what is not of the kind: the types see to that.
    fn holds(self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default();
        match self {
            Self::Number(least, most) => value
                .as_integer()
                .and_then(|number| u64::try_from(number).ok())
                .is_some_and(|number| (least..=most).contains(&number)),
            Self::Time(least, most) => humantime::parse_duration(text)
                .is_ok_and(|duration| (least..=most).contains(&duration)),
            Self::Size(least) => {
                text.parse().is_ok_and(|ByteSize(bytes)| bytes == 0 || bytes >= least)
            }
            Self::Share => value.as_float().is_some_and(|share| (0.0..=1.0).contains(&share)),
        }
    }

    /// `minimum` and `maximum`, where JSON Schema has words for them.
    pub(super) fn keywords(self) -> Option<[(&'static str, serde_json::Value); 2]> {
        match self {
            Self::Number(least, most) => {
                Some([("minimum", json!(least)), ("maximum", json!(most))])
            }
            Self::Share => Some([("minimum", json!(0.0)), ("maximum", json!(1.0))]),
            Self::Time(..) | Self::Size(_) => None,
        }
    }
}

/// "1 to 5".
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(least, most) => write!(f, "{least} to {most}"),
            Self::Time(least, most) => {
                write!(f, "{} to {}", duration::format(least), duration::format(most))
            }
            Self::Size(least) => write!(f, "0, or {} or more", size::format(ByteSize(least))),
            Self::Share => write!(f, "0 to 1"),
        }
    }
}

/// What is out of its bounds.
pub(super) fn check(values: &Values) -> impl Iterator<Item = Complaint> {
    all().filter_map(|(key, range)| {
        let value = values.get(key).filter(|value| !range.holds(value))?;
        Some(Complaint::new([key], format!("{value} is out of bounds; allowed is {range}")))
    })
}
