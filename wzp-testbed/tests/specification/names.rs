//! The names that the two specifications give, read from their text.

use std::collections::BTreeSet;

/// A family as a specification has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Family {
    pub(crate) name: String,
    /// Unknown where the guide only gives examples.
    pub(crate) kind: Option<&'static str>,
    pub(crate) labels: Vec<String>,
}

const TELEMETRY: &str = include_str!("../../../docs/spec/wzp-telemetry.md");
pub(crate) const GUIDE: &str = include_str!("../../../docs/spec/wraith-monitoring.md");

/// Groups of the guide for features that this relay does not have: nothing
/// could feed them.
const WITHOUT_FEATURE: [&str; 4] = ["Transfers", "Cryptography", "Obfuscation", "Discovery"];

/// The relay's own families: the rows of the tables that begin with `wzp_relay_`.
pub(crate) fn relay() -> Vec<Family> {
    rows().into_iter().filter(|family| family.name.starts_with("wzp_relay_")).collect()
}

/// What other programs and other parts of the specification have.
pub(crate) fn elsewhere() -> BTreeSet<String> {
    let others = rows().into_iter().filter(|family| !family.name.starts_with("wzp_relay_"));
    others.map(|family| family.name.split('_').take(2).collect::<Vec<_>>().join("_")).collect()
}

fn rows() -> Vec<Family> {
    let rows = TELEMETRY.lines().filter(|line| line.starts_with("| `wzp_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let kind = match cells[2] {
            "Gauge" => "gauge",
            "Counter" => "counter",
            "Histogram" => "histogram",
            other => panic!("{other} is no kind: {row}"),
        };
        // `result` (ok/fail), or a dash for none.
        let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Family { name: cells[1].trim_matches('`').to_owned(), kind: Some(kind), labels }
    })
    .collect()
}

/// The guide's families of the groups that the relay has.
pub(crate) fn guide() -> Vec<Family> {
    let mut families = Vec::new();
    let mut group = "";
    let mut in_block = false;
    for line in GUIDE.lines() {
        if line.starts_with("```") {
            in_block = line == "```prometheus";
        } else if let Some(heading) = line.strip_prefix("**").and_then(|l| l.strip_suffix(":**")) {
            group = heading;
        } else if in_block && line.starts_with("wraith_") && !WITHOUT_FEATURE.contains(&group) {
            families.push(example(line));
        }
    }
    families
}

/// `wraith_session_state{state="established"}`, `..._seconds_bucket`.
fn example(line: &str) -> Family {
    let (name, labels) = line.split_once('{').unwrap_or((line, ""));
    let labels = labels
        .split('=')
        .rev()
        .skip(1)
        .map(|part| part.rsplit(['"', ',']).next().unwrap_or(part).trim().to_owned());
    match name.strip_suffix("_bucket") {
        Some(name) => {
            Family { name: name.to_owned(), kind: Some("histogram"), labels: labels.collect() }
        }
        None => Family {
            name: name.to_owned(),
            kind: Some(if name.ends_with("_total") { "counter" } else { "gauge" }),
            labels: labels.collect(),
        },
    }
}

/// The guide's blocks of configuration, one file.
pub(crate) fn configuration() -> String {
    let mut text = String::new();
    let mut in_block = false;
    for line in GUIDE.lines() {
        if line.starts_with("```") {
            in_block = line == "```toml";
        } else if in_block {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_specifications_are_read_as_they_are_meant() {
    let (relay, guide) = (relay(), guide());
    assert_eq!((relay.len(), guide.len()), (11, 16), "{relay:?} {guide:?}");
    assert_eq!(elsewhere(), ["wzp_probe", "wzp_web"].map(str::to_owned).into());
    let family = |name: &str| guide.iter().find(|family| family.name == name).unwrap();
    assert_eq!(family("wraith_session_state").labels, ["state"]);
    assert_eq!(family("wraith_handshake_duration_seconds").kind, Some("histogram"));
    let auth = relay.iter().find(|family| family.name.ends_with("auth_attempts_total")).unwrap();
    assert_eq!((auth.kind, auth.labels.as_slice()), (Some("counter"), &["result".to_owned()][..]));
    for section in ["[metrics]", "[health]", "[logging]", "[tracing]", "[audit]"] {
        assert!(configuration().contains(section), "{section}");
    }
}
