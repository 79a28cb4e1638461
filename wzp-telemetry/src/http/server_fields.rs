//! `http_server_config` of a web.config.yml: header fields of all answers.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

/// The keys that the exporter toolkit has.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

/// Those that the exporter toolkit lets be set.
const KNOWN: [&str; 5] = [
    "Strict-Transport-Security",
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
];

impl Section {
    /// The fields that each answer gets, in place of those of the same name.
    ///
    /// # Errors
    /// A sentence about the first that cannot be had.
    pub(super) fn fields(self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        if self.http2 == Some(true) {
            return Err(
                "http2: true would offer HTTP/2, which is not spoken here; set it to false \
                        or leave it out: clients speak HTTP/1.1, too"
                    .to_owned(),
            );
        }
        let field = |(name, value): (String, String)| {
            let known = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(&name));
            let name = known.and_then(|known| known.parse::<HeaderName>().ok());
            let name = name.ok_or_else(|| {
                format!("headers has one that cannot be set; known are {}", KNOWN.join(", "))
            })?;
            let value = HeaderValue::from_str(&value)
                .map_err(|_| format!("headers: the value of {name} is not one line of ASCII"))?;
            Ok((name, value))
        };
        self.headers.into_iter().map(field).collect()
    }
}
