//! Which form of the metrics a request gets.

use crate::settings::MetricsFormat;

/// A form in which metrics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics text 1.0.
    OpenMetrics,
    /// JSON.
    Json,
}

impl Format {
    pub(super) const ALL: [Self; 3] = [Self::Prometheus, Self::OpenMetrics, Self::Json];

    /// Its name in `?format=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::OpenMetrics => "openmetrics",
            Self::Json => "json",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The media type of a body in it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    /// The one that an Accept header (RFC 9110, section 12.5.1) likes most;
    /// `default` if there is none, or it likes that as much, or none at all.
    pub fn accepted(accept: Option<&str>, default: MetricsFormat) -> Self {
        let default = match default {
            MetricsFormat::Prometheus => Self::Prometheus,
            MetricsFormat::Json => Self::Json,
        };
        let Some(accept) = accept else { return default };
        let mut best = (default, default.quality(accept));
        for format in Self::ALL {
            let quality = format.quality(accept);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// What the most specific range that includes the form says of it: 0 to 1.
    fn quality(self, accept: &str) -> f64 {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let specific = self.matches(parts.next()?)?;
            let mut quality = 1.0_f64;
            for (key, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                match key.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" if !self.versions().contains(&value.trim()) => return None,
                    // Of the others (charset, escaping) none changes the form.
                    _ => {}
                }
            }
            Some((specific, quality))
        });
        // Of ranges that say the same, the kindest: two versions of one type.
        ranges
            .max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)))
            .map_or(0.0, |(_, quality)| quality)
    }

    /// How specific a range is that includes the form: 0 to 2.
    fn matches(self, range: &str) -> Option<u8> {
        let own = self.content_type().split(';').next()?;
        let kind = own.split('/').next()?;
        match range.to_ascii_lowercase() {
            range if range == own => Some(2),
            range if range.strip_suffix("/*") == Some(kind) => Some(1),
            range if range == "*/*" => Some(0),
            _ => None,
        }
    }

    fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Prometheus => &["0.0.4"],
            Self::OpenMetrics => &["1.0.0", "0.0.1"],
            Self::Json => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_liked_most() {
        use Format::{Json, OpenMetrics, Prometheus};
        // The first two are what Prometheus 2.42 and 3.5 send.
        let cases = [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            ("*/*", Prometheus),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Prometheus),
            ("application/json", Json),
            ("application/json;q=0.4, text/plain;q=0.5", Prometheus),
            ("application/*", OpenMetrics),
            ("text/plain;version=0.0.4;q=0.1, application/*;q=0", Prometheus),
            ("application/openmetrics-text; version=2.0.0", Prometheus),
            ("Application/JSON ; q=1.0 , */* ; q=0.1", Json),
            ("image/png", Prometheus),
            ("nonsense;;;q=,,", Prometheus),
        ];
        for (accept, expected) in cases {
            assert_eq!(
                Format::accepted(Some(accept), MetricsFormat::Prometheus),
                expected,
                "{accept}"
            );
        }
    }

    #[test]
    fn who_asks_for_nothing_gets_the_configured_form() {
        let json = MetricsFormat::Json;
        assert_eq!(Format::accepted(None, json), Format::Json);
        assert_eq!(Format::accepted(Some("*/*"), json), Format::Json);
        assert_eq!(Format::accepted(Some("text/plain"), json), Format::Prometheus);
    }
}
