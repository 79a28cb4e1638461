//! The configuration file, every value with its line.

use std::path::Path;

use toml::de::DeTable;
use toml::{Table, Value};
use wzp_untrusted::file::SETTINGS_BYTES;

use super::problem::{ConfigError, Origin};
use super::setting::Setting;
use super::values::join;

/// What the file sets.
///
/// # Errors
/// It cannot be read, or is not TOML. What it says is not looked at.
pub(super) fn read(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let text = wzp_untrusted::file::read_text(path, SETTINGS_BYTES)
        .map_err(|reason| ConfigError::Read { path: path.into(), reason })?;
    let syntax = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(&text);
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        ConfigError::Syntax {
            path: path.into(),
            line: line_at(&line_ends(&text), start),
            column: column.saturating_add(1),
            reason: reason(error.message()),
        }
    };
    // One has the values, the other the places.
    let values: Table = toml::from_str(&text).map_err(syntax)?;
    let places = DeTable::parse(&text).map_err(syntax)?;
    let mut settings = Vec::new();
    let file = File { path, line_ends: line_ends(&text) };
    file.take_apart(values, places.get_ref(), "", &mut settings);
    Ok(settings)
}

/// The parser's sentence, which has its own names for numbers that do not fit.
fn reason(message: &str) -> String {
    if message.contains("any valid TOML value") {
        return format!("this number is too large; the most that TOML has is {}", i64::MAX);
    }
    message.to_owned()
}

struct File<'a> {
    path: &'a Path,
    /// Offsets of the line feeds.
    line_ends: Vec<usize>,
}

impl File<'_> {
    fn take_apart(
        &self,
        mut values: Table,
        places: &DeTable<'_>,
        prefix: &str,
        settings: &mut Vec<Setting>,
    ) {
        for (key, place) in places {
            let Some(value) = values.remove(&**key.get_ref()) else { continue };
            let path = join(prefix, key.get_ref());
            match (value, place.get_ref().as_table()) {
                (Value::Table(inner), Some(places)) if !inner.is_empty() => {
                    self.take_apart(inner, places, &path, settings);
                }
                (value, _) => settings.push(Setting {
                    key: path,
                    value,
                    origin: Origin::File {
                        path: self.path.into(),
                        line: line_at(&self.line_ends, key.span().start),
                    },
                }),
            }
        }
    }
}

/// The line that has the byte, from 1.
fn line_at(ends: &[usize], offset: usize) -> usize {
    ends.partition_point(|end| *end < offset) + 1
}

/// Where the lines of a text end.
fn line_ends(text: &str) -> Vec<usize> {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    ends.map(|(at, _)| at).collect()
}
