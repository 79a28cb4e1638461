//! Parts of pages, and files, that are written from the declarations: `cargo xtask docs`.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wzp_relay::metrics::catalogue;
use wzp_telemetry::log::target;
use wzp_telemetry::metrics::Description;

/// Set by `cargo xtask docs`: pages are written, not compared.
const WRITE: &str = "WZP_WRITE_DOCS";

/// Where a text belongs.
enum Place {
    /// In a page, between marks of that name.
    Part(&'static str, &'static str),
    /// A file of its own.
    Whole(&'static str),
}

fn texts() -> Vec<(Place, String)> {
    let tables = catalogue().into_iter().map(|(name, families)| {
        let rows: String = families.iter().map(Description::row).collect();
        let head = "| name | type | labels | meaning | source |\n|---|---|---|---|---|\n";
        (Place::Part("docs/metrics.md", name), format!("{head}{rows}"))
    });
    let others = [
        (Place::Part("docs/logging.md", "targets"), targets()),
        (Place::Part("docs/configuration.md", "reference"), told(&["config", "reference"])),
        (Place::Whole("deploy/relay.toml"), told(&["config", "example"])),
    ];
    tables.chain(others).collect()
}

/// What the program itself says.
fn told(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wzp-relay"));
    let output = command.env_clear().args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn targets() -> String {
    let rows = target::ALL.iter().map(|(name, about)| format!("| `{name}` | {} |\n", about.trim()));
    format!("| target | its lines are about |\n|---|---|\n{}", rows.collect::<String>())
}

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A page with that part in it.
fn with(page: &str, marks: &str, part: &str) -> String {
    let (open, close) = (format!("<!-- {marks} -->\n"), format!("<!-- /{marks} -->"));
    let (before, rest) = page.split_once(&open).unwrap();
    let (_, after) = rest.split_once(&close).unwrap();
    format!("{before}{open}\n{part}\n{close}{after}")
}

#[test]
fn pages_are_as_declared() {
    let is_writing = std::env::var_os(WRITE).is_some();
    for (place, text) in texts() {
        let (Place::Part(name, _) | Place::Whole(name)) = place;
        let path = page(name);
        let written = fs::read_to_string(&path).unwrap();
        let declared = match place {
            Place::Part(_, marks) => with(&written, marks, &text),
            Place::Whole(_) => text,
        };
        if is_writing {
            fs::write(path, declared).unwrap();
        } else {
            assert!(written == declared, "{name} is not as declared: cargo xtask docs");
        }
    }
}

/// A reader must not have to look into the code for what a number is.
#[test]
fn every_family_is_explained() {
    for family in catalogue().into_iter().flat_map(|(_, families)| families) {
        let Description { name, help, source, .. } = family;
        assert!(!help.is_empty() && !source.is_empty(), "{name}");
        assert!(!help.ends_with('.'), "{name}: the page puts a full stop behind it: {help}");
        assert!(!help.starts_with("Their "), "{name}: a HELP line stands alone: {help}");
    }
}
