//! The configuration explained: the reference, the example file, and what is
//! in force.

use std::fmt::{self, Write};

use super::change::{Applies, applies};
use super::flags::flags;
use super::key::{Key, Section, shown};
use super::load::Loaded;
use super::values;

/// A Markdown table of every section.
pub(crate) fn reference(sections: &[Section]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let flags = flags();
    for section in sections {
        writeln!(out, "### `[{}]`\n\n{}\n", section.name, section.meaning)?;
        writeln!(out, "| key | type | default | meaning | flag | environment | reload |")?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
        for key in &section.keys {
            let default =
                key.default.as_ref().map_or("not set".into(), |value| format!("`{value}`"));
            let flag = flags.iter().find(|flag| flag.key == key.path);
            let long = flag.map(|flag| format!("`{}`", flag.long)).unwrap_or_default();
            let short = flag.map(|flag| format!("`{}`, ", flag.variable)).unwrap_or_default();
            let reload = match applies(&key.path) {
                Some(Applies::Live) => "yes",
                _ => "restart",
            };
            writeln!(
                out,
                "| `{}` | {} | {default} | {} | {long} | {short}`{}` | {reload} |",
                key.name(),
                key.form(),
                explained(key, " ").replace('|', "\\|"),
                key.variable(),
            )?;
        }
        writeln!(out)?;
    }
    out.truncate(out.trim_end().len() + 1);
    Ok(out)
}

/// The meaning, and that of each value that there is.
fn explained(key: &Key, between: &str) -> String {
    key.choices.iter().fold(key.meaning.clone(), |text, (value, meaning)| {
        format!("{text}{between}`{value}`: {meaning}")
    })
}

/// A file in which every key is, commented out: `#key = value` with its default,
/// `#   key = value` with an example where there is none.
pub(crate) fn example(sections: &[Section]) -> Result<String, fmt::Error> {
    let mut out = String::from(
        "# Configuration of the WZP relay. Every key is here with its default; remove the #\n\
         # before a key to change it. `wzp-relay config check --config FILE` tells whether\n\
         # the file is right; what each key may be is in docs/configuration.md.\n",
    );
    for section in sections {
        writeln!(out)?;
        comment(&mut out, &section.meaning)?;
        writeln!(out, "[{}]", section.name)?;
        for key in &section.keys {
            writeln!(out)?;
            for line in explained(key, "\n").lines() {
                comment(&mut out, line)?;
            }
            if let Some(value) = &key.default {
                writeln!(out, "#{} = {value}", key.name())?;
            } else if let Some(value) = &key.example {
                writeln!(out, "# Not set; for example:\n#   {} = {value}", key.name())?;
            }
        }
    }
    Ok(out)
}

/// The text in lines that fit a terminal.
fn comment(out: &mut String, text: &str) -> fmt::Result {
    const WIDTH: usize = 88;
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            writeln!(out, "{line}")?;
            line.truncate(1);
        }
        write!(line, " {word}")?;
    }
    writeln!(out, "{line}")
}

/// What is in force, as a file; with the origin of each value if it is wanted.
pub(crate) fn effective(
    loaded: &Loaded,
    sections: &[Section],
    origins: bool,
) -> Result<String, fmt::Error> {
    let values = values::flat(&loaded.config);
    let mut out = String::new();
    for section in sections {
        let gap = if out.is_empty() { "" } else { "\n" };
        writeln!(out, "{gap}[{}]", section.name)?;
        for key in &section.keys {
            let Some(value) = values.get(&key.path) else { continue };
            let line = format!("{} = {}", key.name(), shown(value));
            if origins {
                writeln!(out, "{line:<40} # {}", loaded.origin(&key.path))?;
            } else {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(out)
}
