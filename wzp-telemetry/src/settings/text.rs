//! Values that people write with a unit.

/// Durations as people write them: "5s", "500ms", "30d".
pub mod duration {
    use std::time::Duration;

    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// What [`deserialize`] takes, in words.
    pub const FORM: &str = "a duration such as \"5s\" or \"500ms\"";

    /// The duration in text that is read again as the same: "5s", "2m 30s", "30d".
    pub fn format(mut value: Duration) -> String {
        /// Days at most: the parser's months have 30.44 of them.
        const UNITS: [(&str, Duration); 7] = [
            ("d", Duration::from_secs(24 * 3600)),
            ("h", Duration::from_secs(3600)),
            ("m", Duration::from_secs(60)),
            ("s", Duration::from_secs(1)),
            ("ms", Duration::from_millis(1)),
            ("us", Duration::from_micros(1)),
            ("ns", Duration::from_nanos(1)),
        ];
        let mut parts = Vec::new();
        for (name, unit) in UNITS {
            let count = value.as_nanos() / unit.as_nanos();
            if count > 0 {
                parts.push(format!("{count}{name}"));
                value = Duration::from_nanos_u128(value.as_nanos() % unit.as_nanos());
            }
        }
        if parts.is_empty() { "0s".into() } else { parts.join(" ") }
    }

    /// Writes [`format()`].
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(value: &Duration, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&format(*value))
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is no duration, and why, without [`FORM`].
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// A string; its title says what it stands for.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "title": "duration"})
    }
}

/// URLs as they may be shown: in logs, in the audit log, by `config show`.
pub mod url {
    /// The URL without what may let somebody in: name and password, and all behind
    /// the path. Text that is no URL stays as it is.
    pub fn shown(text: &str) -> String {
        const HIDDEN: &str = "(redacted)";
        let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((_, host)) => format!("{HIDDEN}@{host}"),
            None => authority.to_owned(),
        };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, secret) = rest.split_at(end);
        let rest = match secret.chars().next() {
            Some(mark) => format!("{mark}{HIDDEN}"),
            None => String::new(),
        };
        format!("{scheme}://{authority}{path}{rest}")
    }
}

/// Sizes as people write them: "100MB", "64KiB", or a number of bytes.
pub mod size {
    use bytesize::ByteSize;
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer};

    /// What [`deserialize`] takes, in words.
    pub const FORM: &str = "a size such as \"100MB\" or \"64KiB\"";

    /// The size in text that is read again as the same: bytesize's own rounds.
    pub fn format(value: ByteSize) -> String {
        const UNITS: [(&str, u64); 8] = [
            ("TiB", 1 << 40),
            ("TB", 1_000_000_000_000),
            ("GiB", 1 << 30),
            ("GB", 1_000_000_000),
            ("MiB", 1 << 20),
            ("MB", 1_000_000),
            ("KiB", 1 << 10),
            ("kB", 1_000),
        ];
        let bytes = value.as_u64();
        match UNITS.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
            Some((name, unit)) => format!("{}{name}", bytes / unit),
            None => format!("{bytes}B"),
        }
    }

    /// Writes [`format()`].
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(value: &ByteSize, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&format(*value))
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is no size.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
        ByteSize::deserialize(from)
    }

    /// A string or a number of bytes; its title says what it stands for.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "title": "size"})
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytesize::ByteSize;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_written_as_people_would() {
        let durations = [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_secs(150), "2m 30s"),
            (Duration::from_secs(31 * 24 * 3600), "31d"),
        ];
        for (value, text) in durations {
            assert_eq!(duration::format(value), text);
        }
        let sizes = [(0, "0B"), (1500, "1500B"), (100_000_000, "100MB"), (65_536, "64KiB")];
        for (value, text) in sizes {
            assert_eq!(size::format(ByteSize(value)), text);
        }
    }

    #[test]
    fn urls_are_shown_without_their_secrets() {
        for (given, shown) in [
            ("https://ben:hunter2@auth.example/x", "https://(redacted)@auth.example/x"),
            ("https://ben:h@nter2@auth.example", "https://(redacted)@auth.example"),
            ("https://auth.example/x@y", "https://auth.example/x@y"),
            ("https://auth.example/x?key=hunter2", "https://auth.example/x?(redacted)"),
            ("https://auth.example?key=a/b@c", "https://auth.example?(redacted)"),
            ("https://auth.example/x#hunter2", "https://auth.example/x#(redacted)"),
            ("https://a:b@auth.example/?c=d#e", "https://(redacted)@auth.example/?(redacted)"),
            ("localhost:4317", "localhost:4317"),
            ("/etc/relay/what?.pem", "/etc/relay/what?.pem"),
        ] {
            assert_eq!(url::shown(given), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_as_the_same(seconds in 0u64..1 << 40, nanos in 0u32..1_000_000_000, bytes: u64) {
            let value = Duration::new(seconds, nanos);
            prop_assert_eq!(humantime::parse_duration(&duration::format(value)), Ok(value));
            // As many as a whole number carries exactly, in the parser.
            let value = ByteSize(bytes >> 12);
            prop_assert_eq!(size::format(value).parse::<ByteSize>(), Ok(value));
        }
    }
}
