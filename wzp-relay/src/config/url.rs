//! A URL that is asked, and that is shown without its secrets.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Authority;
use thiserror::Error;
use wzp_telemetry::settings::url;

/// What is asked by HTTP. Shown without name, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

/// Why a text is no such URL. Without the text, which may have a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// No URL, of another scheme, or without a host.
    #[error("expected http://HOST[:PORT]/PATH, or the same with https")]
    Form,
    /// They are for another way to log in.
    #[error("a name and a password in it would not be sent")]
    Credentials,
    /// The library would ask at the scheme's own port instead.
    #[error("its port is none from 1 to 65535")]
    Port,
}

impl Url {
    /// The whole of it, for a request and nothing else.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let authority = uri.authority().ok_or(UrlError::Form)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UrlError::Form);
        }
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        if !is_host(authority.host()) {
            return Err(UrlError::Form);
        }
        if !is_port(authority) {
            return Err(UrlError::Port);
        }
        Ok(Self(uri))
    }
}

/// Whether it is a name or an address. Of names, only the resolver can tell more.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        None => !host.is_empty(),
    }
}

/// Whether there is no port, or one that can be asked at. Nothing behind the colon
/// would be the scheme's own, and is more likely a value that was not filled in.
fn is_port(authority: &Authority) -> bool {
    let behind = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let Some(port) = behind.strip_prefix(':') else { return behind.is_empty() };
    port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse().is_ok_and(|number: u16| number > 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_where_the_text_says() {
        use UrlError::{Credentials, Form, Port};
        let cases = [
            ("http://app.example", None),
            ("https://app.example/voice?key=1", None),
            ("HTTP://app.example:1/", None),
            ("http://127.0.0.1:65535", None),
            ("http://[::1]/", None),
            ("http://[2001:db8::1]:8080/", None),
            ("http://app.example:00080/", None),
            ("", Some(Form)),
            ("/voice", Some(Form)),
            ("app.example:80", Some(Form)),
            ("ftp://app.example/", Some(Form)),
            ("http:///voice", Some(Form)),
            ("http://:80/", Some(Form)),
            ("http://[]:80/", Some(Form)),
            ("http://[127.0.0.1]/", Some(Form)),
            ("http://[::1/", Some(Form)),
            ("http://a:b@app.example/", Some(Credentials)),
            ("http://a@app.example:99999/", Some(Credentials)),
            ("http://app.example:65536/", Some(Port)),
            ("http://app.example:99999999999999999999/", Some(Port)),
            ("https://[::1]:65536/", Some(Port)),
            ("http://app.example:0/", Some(Port)),
            ("http://app.example:/", Some(Port)),
            ("http://app.example:+80/", Some(Port)),
            ("http://app.example:http/", Some(Port)),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Url>();
            match expected {
                // Which of the two is told is the library's to say.
                Some(Form | Port) => assert!(
                    matches!(found, Err(error) if error == Form || Some(error) == expected),
                    "{text}: {found:?}"
                ),
                Some(Credentials) => assert_eq!(found, Err(Credentials), "{text}"),
                None => assert!(found.is_ok(), "{text}: {found:?}"),
            }
        }
    }
}
