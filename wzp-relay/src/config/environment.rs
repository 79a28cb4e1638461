//! Variables: `WZP_SECTION__KEY` sets `section.key`, and each flag has one of its own.
//!
//! An empty variable is none: that is how one is taken back where others set it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use strsim::normalized_damerau_levenshtein;
use toml::Value;

use super::flags::{self, Flag};
use super::key::{Key, Section};
use super::problem::{Origin, Problem};
use super::setting::{LIKENESS, Setting, keys};

/// The variable that names the configuration file.
const FILE: &str = "WZP_CONFIG";

/// Those of other programs of this project.
const OF_OTHERS: [&str; 4] = ["WZP_TOKEN", "WZP_SIM_", "WZP_TEST_", "WZP_XTASK_"];

/// Names that the warning about Kubernetes shows.
const SHOWN: usize = 3;

/// Longer names than this are not compared with those that there are.
const LONGEST: usize = 64;

/// What the variables say.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The configuration file.
    pub(super) file: Option<PathBuf>,
    /// Those of the long variables.
    pub(super) long: Vec<Setting>,
    /// Those of the flags' variables, which win over the long ones.
    pub(super) short: Vec<Setting>,
    pub(super) problems: Vec<Problem>,
    /// Variables that Kubernetes sets, those first that would have meant something here.
    links: Vec<String>,
}

/// Reads all variables that begin with `WZP_`.
pub(super) fn read(
    variables: impl Iterator<Item = (OsString, OsString)>,
    sections: &[Section],
) -> Environment {
    let flags = flags::flags();
    let mut found = Environment::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("WZP_")) else { continue };
        if !value.is_empty() {
            found.take(name, &value, sections, &flags);
        }
    }
    found
}

impl Environment {
    fn take(&mut self, name: &str, value: &OsStr, sections: &[Section], flags: &[Flag]) {
        let flag = flags.iter().find(|flag| flag.variable == name);
        let origin = Origin::Environment(name.to_owned());
        let Some(value) = value.to_str() else {
            let key = flag.map_or_else(|| path(name), |flag| flag.key.to_owned());
            let text = "it is not UTF-8".to_owned();
            return self.problems.push(Problem { keys: vec![(key, origin)], text });
        };
        if is_service_link(name, value) {
            let at = if flag.is_some() { 0 } else { self.links.len() };
            self.links.insert(at, name.to_owned());
        } else if name == FILE {
            self.file = Some(value.into());
        } else if let Some(flag) = flag {
            match flag.settings(value) {
                Ok(settings) => self.short.extend(settings),
                Err(text) => {
                    self.problems.push(Problem { keys: vec![(flag.key.to_owned(), origin)], text });
                }
            }
        } else if name.contains("__") {
            self.long.push(long(name, value, sections));
        } else if !OF_OTHERS.iter().any(|other| name.starts_with(other)) {
            let text = format!("{origin}: {}", unknown(name, sections, flags));
            self.problems.push(Problem { keys: Vec::new(), text });
        }
    }

    /// What was left alone and why.
    pub(super) fn warning(&self) -> Option<String> {
        let shown = self.links.get(..SHOWN).unwrap_or(&self.links);
        let more = match self.links.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!self.links.is_empty()).then(|| {
            format!(
                "environment {}{more}: left alone, as Kubernetes sets them for a Service whose \
                 name begins with wzp; enableServiceLinks: false in the pod keeps them out",
                shown.join(", ")
            )
        })
    }
}

fn path(name: &str) -> String {
    name.trim_start_matches("WZP_").replace("__", ".").to_lowercase()
}

fn long(name: &str, value: &str, sections: &[Section]) -> Setting {
    let path = path(name);
    let is_text = keys(sections).any(|key| key.path == path && key.takes_text());
    let as_toml = || value.parse().ok().filter(|_| !is_text);
    let value = as_toml().unwrap_or_else(|| Value::String(value.to_owned()));
    Setting { key: path, value, origin: Origin::Environment(name.to_owned()) }
}

/// What Kubernetes sets for each Service of the namespace, as Docker's links did: of one
/// that is called `wzp-metrics`, WZP_METRICS_PORT is `tcp://10.0.0.8:9090`.
fn is_service_link(name: &str, value: &str) -> bool {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_uppercase());
    let is_url = scheme.is_some_and(|scheme| PROTOCOLS.contains(&&*scheme));
    // WZP_METRICS_PORT_9090_TCP and three more.
    let is_of_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && parts.next().is_some_and(|protocol| PROTOCOLS.contains(&protocol))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || is_of_port
}

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

fn unknown(name: &str, sections: &[Section], flags: &[Flag]) -> String {
    let short = flags.iter().map(|flag| flag.variable.clone()).chain([FILE.to_owned()]);
    let known = short.chain(keys(sections).map(Key::variable));
    let alike = known.map(|known| (normalized_damerau_levenshtein(&known, name), known));
    let near = alike.filter(|(likeness, _)| *likeness >= LIKENESS && name.len() <= LONGEST);
    match near.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((_, known)) => format!("no such variable; did you mean {known}?"),
        None => "no such variable; keys are set by WZP_SECTION__KEY, and `wzp-relay config \
                 reference` lists them"
            .to_owned(),
    }
}
