//! What a single value may be.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::json;
use toml::Value;
use wzp_telemetry::settings::{duration, size};

/// The least and the most that a key may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    Number(u64, u64),
    Time(Duration, Duration),
    /// None, or at least so many bytes.
    Size(u64),
    /// 0 to 1.
    Share,
}

impl Range {
    /// Also false for what is not of the kind: the types see to that.
    pub(super) fn holds(self, value: &Value) -> bool {
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
