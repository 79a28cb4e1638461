//! A URL that is asked, and that is shown without its secrets.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use wzp_telemetry::settings::url;

/// What is asked by HTTP. Shown without name, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// The whole of it, for a request and nothing else.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for Url {
    type Err = <Uri as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&url::shown(&self.0.to_string()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
