//! Numbers and times as people and programs are shown them, one form for each.

use std::time::{Duration, UNIX_EPOCH};

/// "1 room", "2 rooms".
pub fn counted(number: impl TryInto<u64> + std::fmt::Display, one: &str) -> String {
    let text = format!("{number} {one}");
    if number.try_into().is_ok_and(|number| number == 1) { text } else { text + "s" }
}

/// The end of the year 9999: what a certificate can say ends with it, as RFC 3339 does.
const LAST: u64 = 253_402_300_799;

/// A time in seconds since 1970, as certificates have it, in RFC 3339.
pub fn date(seconds: i64) -> String {
    match u64::try_from(seconds).unwrap_or(0) {
        since @ ..=LAST => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since)).to_string()
        }
        _ => "never".into(),
    }
}

/// Milliseconds, to the microsecond. Seconds times a thousand have digits that nobody
/// measured: 0.087709 s would be 87.70899999999999 ms.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Seconds, to the millisecond.
pub fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

/// A share of 1 in percent, to a thousandth.
pub fn percent(share: f64) -> f64 {
    thousandths(share * 100.0)
}

/// A quotient to a thousandth.
pub fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// The sum, 0 of nothing: that of the standard library is then -0, and shown so.
pub fn sum(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |sum, number| sum + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let count = |number: u64| counted(number, "room");
        assert_eq!([count(0), count(1), count(2)], ["0 rooms", "1 room", "2 rooms"]);
        assert_eq!(counted(1_usize, "byte"), "1 byte");
    }

    #[test]
    fn dates_are_those_of_certificates() {
        assert_eq!(date(67_090_118_400), "4096-01-01T00:00:00Z");
        assert_eq!(date(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(date(-1), "1970-01-01T00:00:00Z");
        assert_eq!((date(253_402_300_800), date(i64::MAX)), ("never".into(), "never".into()));
    }

    #[test]
    fn numbers_have_no_digits_that_nobody_measured() {
        for micros in [87_709, 1, 999, 57_001, 1_234_567_891] {
            let shown = milliseconds(Duration::from_micros(micros)).to_string();
            let decimals = shown.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            assert!(decimals <= 3, "{micros} µs are {shown} ms");
        }
        assert_eq!(seconds(Duration::from_nanos(1_234_567_890_123)).to_string(), "1234.567");
        let shares =
            [0.07, 0.29, 0.57, 1.0 / 3.0, 0.0, 1.0].map(|share| percent(share).to_string());
        assert_eq!(shares, ["7", "29", "57", "33.333", "0", "100"]);
        assert_eq!(format!("{}", sum([].into_iter())), "0");
        assert_eq!(sum([1.5, 2.0].into_iter()), 3.5);
    }
}
