//! Who takes gzip, and what it is worth for.

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// Shorter bodies fit into a packet anyway.
const WORTHWHILE: usize = 1024;

/// Whether a body of this length is worth compressing, by itself.
pub(super) fn is_worthwhile(length: usize) -> bool {
    length > WORTHWHILE
}

/// Whether a client that sent these header fields takes gzip (RFC 9110, section
/// 12.5.3).
pub(super) fn is_taken(fields: &HeaderMap) -> bool {
    fields.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).is_some_and(takes_gzip)
}

fn takes_gzip(accept_encoding: &str) -> bool {
    let quality = |wanted: &str| {
        accept_encoding.split(',').find_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next()?;
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            name.eq_ignore_ascii_case(wanted)
                .then(|| quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)))
        })
    };
    quality("gzip").or_else(|| quality("*")).is_some_and(|quality: f64| quality > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_who_takes_it() {
        let cases = [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("x-gzip-like", false),
            ("", false),
        ];
        for (header, taken) in cases {
            let fields = HeaderMap::from_iter([(ACCEPT_ENCODING, header.parse().unwrap())]);
            assert_eq!(is_taken(&fields), taken, "{header}");
        }
        assert!(!is_taken(&HeaderMap::new()));
    }
}
