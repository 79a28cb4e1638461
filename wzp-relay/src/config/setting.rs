//! One value that somebody set, before it is known to be right.

use toml::Value;

use super::Config;
use super::key::{Key, Section};
use super::problem::{Origin, Problem};
use super::values::typed;
use super::wanted::{refused, wanted};

/// The key of files that hold a secret each.
const SECRETS: &str = "auth.jwt.secret_files";

/// How like a key must be to be what was meant, from 0 to 1.
pub(crate) const LIKENESS: f64 = 0.7;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// With its section.
    pub(crate) key: String,
    /// A table only if it is empty.
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Setting {
    /// Whether it is the header of a section and nothing else.
    pub(crate) fn is_empty_table(&self) -> bool {
        self.value.as_table().is_some()
    }

    /// Whether it cannot stay.
    pub(crate) fn is_wrong(&self, sections: &[Section]) -> bool {
        self.is_unknown(sections) || self.refusal().is_some()
    }

    /// Whether there is no such key, and no such section.
    fn is_unknown(&self, sections: &[Section]) -> bool {
        let is_section = sections.iter().any(|section| inside(&self.key, &section.name));
        !is_section && !keys(sections).any(|key| inside(&key.path, &self.key))
    }

    /// What is wrong with the value, or inside of it.
    fn refusal(&self) -> Option<toml::de::Error> {
        typed::<Config>([(&*self.key, &self.value)]).err()
    }

    /// Why it cannot stay: there is no such key, or the value is of the wrong kind.
    pub(crate) fn problem(&self, sections: &[Section]) -> Option<Problem> {
        let known = keys(sections).find(|key| inside(&key.path, &self.key));
        let text = match known {
            // What stands where files are to be named may be the secret itself.
            Some(key) if key.path == SECRETS => {
                self.refusal()?;
                "wanted is a list of files that hold a secret each, and no secret itself".to_owned()
            }
            Some(key) if key.path == self.key => refused(key, &self.value, &self.refusal()?),
            Some(key) => format!("{} is no section; wanted is {}", key.path, wanted(key)),
            None if self.is_unknown(sections) => self.unknown(sections),
            None => {
                self.refusal()?;
                format!(
                    "this is a section: write [{}], and its keys on lines of their own",
                    self.key
                )
            }
        };
        Some(Problem { keys: vec![(self.key.clone(), self.origin.clone())], text })
    }

    fn unknown(&self, sections: &[Section]) -> String {
        let spelt = |key: &Key| match self.origin {
            Origin::Environment(_) => key.variable(),
            _ => key.path.clone(),
        };
        let name = self.key.rsplit_once('.').map_or(&*self.key, |(_, name)| name);
        let mut near: Vec<(f64, String)> = keys(sections)
            .map(|key| {
                let exact = if key.name() == name { 1.0 } else { 0.0 };
                let alike = strsim::normalized_damerau_levenshtein(&key.path, &self.key);
                (alike.max(exact), spelt(key))
            })
            .chain(sections.iter().map(|section| {
                let alike = strsim::normalized_damerau_levenshtein(&section.name, &self.key);
                (alike, format!("[{}]", section.name))
            }))
            .filter(|(likeness, _)| *likeness >= LIKENESS)
            .collect();
        near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let meant = near.iter().take(3).map(|(_, key)| key.as_str()).collect::<Vec<_>>();
        let meant = match meant[..] {
            [] => "no such key;".to_owned(),
            _ => format!("no such key; did you mean {}?", meant.join(" or ")),
        };
        let outer = self.key.rsplit_once('.').map(|(section, _)| section);
        let allowed = match sections.iter().find(|section| Some(&*section.name) == outer) {
            Some(section) => {
                let names: Vec<_> = section.keys.iter().map(Key::name).collect();
                format!("[{}] has {}", section.name, names.join(", "))
            }
            None => {
                let names: Vec<_> = sections.iter().map(|section| section.name.as_str()).collect();
                format!("there are the sections {}", names.join(", "))
            }
        };
        format!("{meant} {allowed}")
    }
}

/// Whether a dotted key is another one, or within it.
fn inside(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub(crate) fn keys(sections: &[Section]) -> impl Iterator<Item = &Key> {
    sections.iter().flat_map(|section| &section.keys)
}
