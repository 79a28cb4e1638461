//! Reads the Prometheus text format, version 0.0.4.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One line: a series and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// What one scrape brought.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

impl Scrape {
    /// Reads the whole text.
    ///
    /// # Errors
    /// The first line that is not of the format.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines
            .map(|line| sample(line).with_context(|| format!("not a sample: {line:?}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// Sum over all series of `name` whose labels include all of `labels`;
    /// `None` if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matches = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(matches).map(|sample| sample.value).reduce(|a, b| a + b)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(label.trim().to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads up to the closing quote; gives the text and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_values_and_comments() {
        let text = "# HELP x Something.\n# TYPE x counter\n\
                    x_total{room=\"a, \\\"b\\\" {c}\\\\\\n\",shard=\"0\"} 12\n\
                    x_total{room=\"other\",shard=\"0\",} 3 1700000000000\n\
                    plain 1e3\nempty{} +Inf\n";
        let scrape = Scrape::parse(text).unwrap();
        let room = [("room", "a, \"b\" {c}\\\n")];
        assert_eq!(scrape.sum("x_total", &room), Some(12.0));
        assert_eq!(scrape.sum("x_total", &[("shard", "0")]), Some(15.0));
        assert_eq!(scrape.sum("x_total", &[("shard", "1")]), None);
        assert_eq!(scrape.sum("plain", &[]), Some(1000.0));
        assert_eq!(scrape.sum("empty", &[]), Some(f64::INFINITY));
        for broken in ["x", "x{", "x{a=\"b} 1", "x{a=b} 1", "x one"] {
            assert!(Scrape::parse(broken).is_err(), "{broken}");
        }
    }
}
