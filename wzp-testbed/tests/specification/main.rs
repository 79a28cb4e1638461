//! What the two specifications (docs/spec) promise, against a running relay:
//! every name with its type and labels, the configuration as they write it, the
//! health report, and a real Prometheus that scrapes all of it for a minute.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

mod names;
mod prometheus;
mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use names::Family;
use scene::Scene;
use serde_json::Value;
use wzp_testbed::binaries;
use wzp_testbed::metrics::Scrape;

const LIMIT: Duration = Duration::from_secs(60);

/// Type by name, as `# TYPE` tells.
fn types(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// The label names of a family's series, `le` aside.
fn labels(scrape: &Scrape, family: &Family) -> BTreeSet<BTreeSet<String>> {
    let sample = match family.kind {
        Some("histogram") => format!("{}_bucket", family.name),
        _ => family.name.clone(),
    };
    let samples = scrape.samples.iter().filter(|found| found.name == sample);
    samples.map(|found| found.labels.keys().filter(|key| *key != "le").cloned().collect()).collect()
}

#[test]
fn every_name_is_exported_with_its_type_and_its_labels() {
    let scene = Scene::new();
    let deadline = Instant::now() + LIMIT;
    let expected: Vec<_> = names::relay().into_iter().chain(names::guide()).collect();
    // Sessions' series come with their first reports.
    loop {
        let page = scene.relay().get("/metrics").unwrap().body;
        let (types, scrape) = (types(&page), Scrape::parse(&page).unwrap());
        let wrong: Vec<_> = expected
            .iter()
            .filter(|family| {
                let wanted: BTreeSet<String> = family.labels.iter().cloned().collect();
                types.get(family.name.as_str()).copied() != family.kind
                    || labels(&scrape, family) != BTreeSet::from([wanted])
            })
            .collect();
        if wrong.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "missing or different: {wrong:#?}\n{page}");
        std::thread::sleep(Duration::from_millis(200));
    }
    scene.end();
}

#[test]
fn the_guides_configuration_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, names::configuration()).unwrap();
    let output = Command::new(binaries::relay())
        .args(["config", "show", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    let shown: toml::Table = shown.parse().unwrap();
    let written: toml::Table = names::configuration().parse().unwrap();
    for (section, keys) in &written {
        for (key, value) in keys.as_table().unwrap() {
            assert_eq!(&shown[section][key], value, "{section}.{key}");
        }
    }
}

/// Keys of the guide's example of a health report, those of `checks` apart:
/// they name what a node of the guide has.
#[test]
fn the_health_report_has_the_guides_form() {
    let scene = Scene::new();
    let example = names::GUIDE.split("```json").find(|block| block.contains("uptime_seconds"));
    let example: Value =
        serde_json::from_str(example.unwrap().split("```").next().unwrap()).unwrap();
    let report = scene.relay().get("/health").unwrap();
    assert_eq!(report.status, 200, "{}", report.body);
    let report: Value = serde_json::from_str(&report.body).unwrap();
    for (key, value) in example.as_object().unwrap() {
        let shown = report.get(key).unwrap_or_else(|| panic!("{key} is not in {report}"));
        assert_eq!(std::mem::discriminant(shown), std::mem::discriminant(value), "{key}: {report}");
    }
    assert_eq!(report["status"], "healthy", "{report}");
    let checks = report["checks"].as_object().unwrap();
    assert!(!checks.is_empty() && checks.values().all(|check| check == "ok"), "{report}");
    scene.end();
}
