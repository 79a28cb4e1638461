//! Text that somebody else chose, for people to look at: on a terminal, in a log,
//! in the label of a metric.
//!
//! What would not be seen, or would steer what shows it, is written as `\u{202e}`.
//! Letters of all scripts stay, those that are written from right to left too, and
//! emoji. So do joiners between emoji, in Persian, and behind the virama of Indic
//! scripts: there they are seen by what they do, and names are written so. Elsewhere
//! they would make two names look the same that are not.

mod hidden;

use std::fmt::{self, Display, Formatter, Write};

pub(crate) use hidden::is_hidden;

use hidden::Before;

/// A name. No two names are shown alike: a backslash that looks like the beginning of
/// an escape is written as one, `\u{5c}`.
pub fn name(text: &str) -> Shown<'_> {
    Shown { text, kept: None, is_name: true }
}

/// A line of a program's own that may have foreign text in it.
pub fn line(text: &str) -> Shown<'_> {
    Shown { text, kept: None, is_name: false }
}

/// Several such lines: line feeds stay.
pub fn lines(text: &str) -> Shown<'_> {
    Shown { text, kept: Some('\n'), is_name: false }
}

/// The first `most` characters of a [`name`]. What is left out is told by `…`, and no
/// escape is cut in two.
pub fn start_of_name(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for piece in name(text).pieces() {
        let piece = piece.to_string();
        let after = length + piece.chars().count();
        if after > most {
            // Room for the sign itself.
            while length + 1 > most && shown.pop().is_some() {
                length -= 1;
            }
            shown.push('…');
            break;
        }
        shown += &piece;
        length = after;
    }
    shown
}

/// Whether the text shows all that it is: [`line()`] would change nothing.
pub fn is_plain(text: &str) -> bool {
    is_plain_ascii(text) || line(text).pieces().all(|piece| piece.escaped.is_none())
}

fn is_plain_ascii(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Text as it may be shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    text: &'a str,
    /// A control character that stays.
    kept: Option<char>,
    is_name: bool,
}

impl<'a> Shown<'a> {
    fn pieces(self) -> impl Iterator<Item = Piece> + use<'a> {
        let mut before = Before::default();
        self.text.char_indices().map(move |(at, c)| {
            let rest = &self.text[at + c.len_utf8()..];
            let is_feigned = self.is_name && c == '\\' && rest.starts_with("u{");
            let shows = before.shows(c, rest.chars().next()) || self.kept == Some(c);
            let escaped = match () {
                () if is_feigned => Some(Escape::Code),
                () if shows => None,
                () if !self.is_name && ['\n', '\r', '\t'].contains(&c) => Some(Escape::Letter),
                () => Some(Escape::Code),
            };
            Piece { c, escaped }
        })
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_plain_ascii(self.text) && !(self.is_name && self.text.contains('\\')) {
            return f.write_str(self.text);
        }
        self.pieces().try_for_each(|piece| piece.fmt(f))
    }
}

/// One character and how it is shown.
struct Piece {
    c: char,
    /// `None`: as it is.
    escaped: Option<Escape>,
}

enum Escape {
    /// `\u{a}`
    Code,
    /// `\n`, in lines, whose backslashes need not be told apart.
    Letter,
}

impl Display for Piece {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.escaped {
            None => f.write_char(self.c),
            Some(Escape::Code) => write!(f, "{}", self.c.escape_unicode()),
            Some(Escape::Letter) => write!(f, "{}", self.c.escape_default()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
