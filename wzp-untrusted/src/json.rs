//! JSON in which foreign text cannot hurt whoever looks at it raw: what would not be
//! seen is written as `\u202e` (RFC 8259 section 7). Parsed, it is what it was.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::text::is_hidden;

/// The value in one line.
///
/// # Errors
/// It cannot be JSON: a map's key is no text, or its own Serialize fails.
pub fn to_string(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Visible))?;
    String::from_utf8(bytes).map_err(|error| serde_json::Error::io(io::Error::other(error)))
}

struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_hidden(*c)) {
            writer.write_all(&fragment.as_bytes()[plain_from..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain_from = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::CASES;

    #[test]
    fn what_is_hidden_is_escaped_and_comes_back() {
        for (text, _) in CASES {
            let json = to_string(text).unwrap();
            assert!(!json.chars().any(is_hidden), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), *text);
        }
        let cases = [
            ("a\u{85}b\u{2028}", r#""a\u0085b\u2028""#),
            ("\u{e0041}\"\n", r#""\udb40\udc41\"\n""#),
            ("Zoë \u{7f}", r#""Zoë \u007f""#),
        ];
        for (text, json) in cases {
            assert_eq!(to_string(text).unwrap(), json);
        }
    }
}
