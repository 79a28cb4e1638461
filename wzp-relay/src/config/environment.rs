//! `WZP_SECTION__KEY` sets `section.key`.

use std::ffi::OsString;

use toml::Value;

use super::key::Section;
use super::problem::{Origin, Problem};
use super::setting::{Setting, keys};

/// What the variables set. Those without `__` belong to others: the short ones of
/// the command line, and the tests.
///
/// # Errors
/// The first value that is not UTF-8. What the values say is not looked at.
pub(super) fn read(
    variables: impl Iterator<Item = (OsString, OsString)>,
    sections: &[Section],
) -> Result<Vec<Setting>, Problem> {
    let mut settings = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix("WZP_").filter(|rest| rest.contains("__")) else {
            continue;
        };
        let path = rest.replace("__", ".").to_lowercase();
        let origin = Origin::Environment(name.to_owned());
        let Some(text) = value.to_str() else {
            return Err(Problem { keys: vec![(path, origin)], text: "not UTF-8".into() });
        };
        let is_text = keys(sections).any(|key| key.path == path && key.takes_text());
        let as_toml = || text.parse().ok().filter(|_| !is_text);
        let value = as_toml().unwrap_or_else(|| Value::String(text.to_owned()));
        settings.push(Setting { key: path, value, origin });
    }
    Ok(settings)
}
