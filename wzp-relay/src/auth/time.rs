//! Numbers of seconds that somebody else says: tokens, the service that decides, the server
//! of a key set. They are bounded here, where they enter.

use std::time::Duration;

use serde::Deserialize;
use wzp_sfu::access::LAST;

/// A number of seconds, not below zero: NumericDate of RFC 7519 section 2, or a
/// time from now. At most [`LAST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Seconds(Duration);

impl TryFrom<f64> for Seconds {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Ok(Self(duration.min(LAST))),
            Err(_) if seconds > 0.0 => Ok(Self(LAST)),
            Err(_) => Err("expected a number of seconds, not below zero"),
        }
    }
}

impl Seconds {
    /// The same; never more than [`LAST`].
    pub(super) const fn duration(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_numbers_are_bounded_once() {
        let last = LAST.as_secs_f64();
        let cases = [
            ("0", Some(0.0)),
            ("-0.0", Some(0.0)),
            ("1.5", Some(1.5)),
            ("1800000000", Some(1.8e9)),
            ("253402300799", Some(last)),
            ("253402300800", Some(last)),
            ("1e18", Some(last)),
            ("9223372036854775807", Some(last)),
            ("18446744073709551615", Some(last)),
            ("18446744073709551616", Some(last)),
            ("1e300", Some(last)),
            ("-1", None),
            ("-1e-9", None),
            ("-9223372036854775808", None),
            ("-1e300", None),
            ("1e400", None),
            ("NaN", None),
            ("null", None),
            ("true", None),
            ("\"1\"", None),
            ("[1]", None),
        ];
        for (text, expected) in cases {
            let seconds = serde_json::from_str::<Seconds>(text).ok();
            let seconds = seconds.map(|seconds| seconds.duration().as_secs_f64());
            assert_eq!(seconds, expected, "{text}");
        }
        for odd in [f64::NAN, f64::NEG_INFINITY] {
            assert!(Seconds::try_from(odd).is_err(), "{odd}");
        }
        assert_eq!(Seconds::try_from(f64::INFINITY), Ok(Seconds(LAST)));
    }
}
