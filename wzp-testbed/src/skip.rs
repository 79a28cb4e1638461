//! What a machine must have for a test to mean something. A test that lacks it
//! says so and does nothing; in continuous integration (`CI=true`) it fails,
//! because there nobody reads what a passing test prints.

use std::process::Command;
use std::sync::OnceLock;

use crate::netns::Namespace;
use crate::{impair, python, speech};

/// Network namespaces and packet filters in them.
///
/// # Panics
/// They are lacking and this is continuous integration.
pub fn have_namespaces(test: &str) -> bool {
    announce(test, missing_namespaces())
}

/// Why there are no network namespaces here, if so.
pub fn missing_namespaces() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let attempt = || {
        Namespace::new("probe").and_then(|namespace| impair::loss::incoming(&namespace, 0, None))
    };
    let describe = |error| format!("network namespaces and nftables, which root has: {error:#}");
    MISSING.get_or_init(|| attempt().err().map(describe)).as_deref()
}

/// Network namespaces, and interfaces in them that can be made slow.
///
/// # Panics
/// They are lacking and this is continuous integration.
pub fn have_bottlenecks(test: &str) -> bool {
    let attempt = || {
        Namespace::new("probe")
            .and_then(|namespace| impair::bottleneck::outgoing(&namespace, "lo", 1_000_000, 16_000))
    };
    let describe = |error| format!("tc and a kernel with sch_tbf, for root: {error:#}");
    have_namespaces(test) && announce(test, attempt().err().map(describe).as_deref())
}

/// The recordings of speech that the tests play.
///
/// # Panics
/// They are lacking and this is continuous integration.
pub fn have_recordings(test: &str) -> bool {
    announce(test, speech::missing_recordings().as_deref())
}

/// The Python environment of `tools/`.
///
/// # Panics
/// It is lacking and this is continuous integration.
pub fn have_python(test: &str) -> bool {
    announce(test, python::missing().as_deref())
}

/// A program of that name.
///
/// # Panics
/// It is lacking and this is continuous integration.
pub fn have_program(test: &str, name: &str) -> bool {
    let answers = Command::new(name).arg("--version").output().is_ok();
    announce(test, (!answers).then(|| format!("the program {name}")).as_deref())
}

fn announce(test: &str, missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    let sentence = format!("{test} needs {missing}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{sentence}");
    eprintln!("\nSKIPPED, NOTHING WAS TESTED: {sentence}\n");
    false
}
