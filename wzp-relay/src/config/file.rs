//! The configuration file, every value with its line.

use std::path::Path;

use toml::de::DeTable;
use toml::{Table, Value};

use super::problem::{ConfigError, Origin};
use super::setting::Setting;
use super::values::join;

/// What the file sets.
///
/// # Errors
/// It cannot be read, or is not TOML. What it says is not looked at.
pub(super) fn read(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|reason| ConfigError::Read { path: path.into(), reason })?;
    let syntax = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(&text);
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        ConfigError::Syntax {
            path: path.into(),
            line: line_of(&text, start),
            column: column.saturating_add(1),
            reason: error.message().to_owned(),
        }
    };
    // One has the values, the other the places.
    let values: Table = toml::from_str(&text).map_err(syntax)?;
    let places = DeTable::parse(&text).map_err(syntax)?;
    let mut settings = Vec::new();
    let file = File { path, text: &text };
    file.take_apart(values, places.get_ref(), "", &mut settings);
    Ok(settings)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
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
                        line: line_of(self.text, key.span().start),
                    },
                }),
            }
        }
    }
}

/// The line that has the byte, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
