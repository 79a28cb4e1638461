//! What a machine must have, declared once: how to see that it is there, what
//! brings it, and what does not work without it.

use std::path::Path;
use std::process::Command;

use wzp_testbed::speech;

use crate::project::{cargo, succeeds};

/// What brings a prerequisite.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Packages of Debian and its descendants.
    Apt(&'static [&'static str]),
    /// A component of the Rust toolchain.
    Rustup(&'static str),
    /// A program on crates.io and its version.
    Cargo(&'static str, &'static str),
}

/// One thing that must be there.
#[derive(Debug)]
pub(crate) struct Prerequisite {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it is for: the end of "needed ...".
    pub(crate) purpose: &'static str,
    /// What brings it.
    pub(crate) source: Source,
    /// Whether it is there.
    pub(crate) present: fn() -> bool,
}

/// Without these nothing can be built.
pub(crate) const BUILD: &[Prerequisite] = &[
    Prerequisite {
        name: "a C and C++ compiler and make",
        purpose: "to compile libopus and aws-lc",
        source: Source::Apt(&["build-essential"]),
        present: || ["cc", "c++", "make"].iter().all(|name| answers(name, "--version")),
    },
    Prerequisite {
        name: "cmake",
        purpose: "to compile libopus",
        source: Source::Apt(&["cmake"]),
        present: || answers("cmake", "--version"),
    },
];

/// Without these `cargo xtask test` cannot do its work.
pub(crate) const TEST: &[Prerequisite] = &[
    Prerequisite {
        name: "rustfmt",
        purpose: "to check the formatting",
        source: Source::Rustup("rustfmt"),
        present: || succeeds(cargo(&["fmt", "--version"])),
    },
    Prerequisite {
        name: "clippy",
        purpose: "to lint",
        source: Source::Rustup("clippy"),
        present: || succeeds(cargo(&["clippy", "--version"])),
    },
    Prerequisite {
        name: "cargo-deny",
        purpose: "to check licences and sources of dependencies",
        source: Source::Cargo("cargo-deny", "0.20.2"),
        present: || succeeds(cargo(&["deny", "--version"])),
    },
];

/// Without this there is no package.
pub(crate) const PACKAGE: &[Prerequisite] = &[Prerequisite {
    name: "cargo-deb",
    purpose: "to make the Debian package",
    source: Source::Cargo("cargo-deb", "3.8.0"),
    present: || succeeds(cargo(&["deb", "--version"])),
}];

/// Without these some tests skip themselves, or the runner is a plainer one.
pub(crate) const FULL_TEST: &[Prerequisite] = &[
    Prerequisite {
        name: "cargo-nextest",
        purpose: "to run the tests in parallel; `cargo test` takes its place",
        source: Source::Cargo("cargo-nextest", "0.9.143"),
        present: || succeeds(cargo(&["nextest", "--version"])),
    },
    Prerequisite {
        name: "iproute2",
        purpose: "for tests in network namespaces",
        source: Source::Apt(&["iproute2"]),
        present: || answers("ip", "-Version"),
    },
    Prerequisite {
        name: "nftables",
        purpose: "for tests with packet loss",
        source: Source::Apt(&["nftables"]),
        present: || answers("nft", "--version"),
    },
    Prerequisite {
        name: "recordings of speech",
        purpose: "for tests of the quality of speech",
        source: Source::Apt(&["alsa-utils"]),
        present: || speech::missing_recordings().is_none(),
    },
    Prerequisite {
        name: "Python with venv and its C headers",
        purpose: "for PESQ and the client in Python",
        source: Source::Apt(&["python3", "python3-venv", "python3-dev"]),
        present: || {
            python(
                "import ensurepip, os, sysconfig, venv; \
                 open(os.path.join(sysconfig.get_path('include'), 'Python.h'))",
            )
        },
    },
    Prerequisite {
        name: "libopus as a shared library",
        purpose: "for the client in Python",
        source: Source::Apt(&["libopus0"]),
        present: || python("import ctypes; ctypes.CDLL('libopus.so.0')"),
    },
    Prerequisite {
        name: "promtool",
        purpose: "to check names and form of the metrics",
        source: Source::Apt(&["prometheus"]),
        present: || answers("promtool", "--version"),
    },
    Prerequisite {
        name: "logrotate",
        purpose: "to try how the package's audit log is moved away",
        source: Source::Apt(&["logrotate"]),
        present: || answers("logrotate", "--version"),
    },
    Prerequisite {
        name: "ALSA development files",
        purpose: "to lint the client's microphone and speaker",
        source: Source::Apt(&["libasound2-dev", "pkg-config"]),
        present: alsa,
    },
];

/// Whether code for the sound card can be compiled.
pub(crate) fn alsa() -> bool {
    let mut command = Command::new("pkg-config");
    command.args(["--exists", "alsa"]);
    succeeds(command)
}

fn python(script: &str) -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", script]);
    succeeds(command)
}

/// Whether the program can be started. Those of the administrator are often
/// not in the path of others.
fn answers(program: &str, argument: &str) -> bool {
    ["", "/usr/sbin", "/sbin"].iter().any(|folder| {
        let mut command = Command::new(Path::new(folder).join(program));
        command.arg(argument);
        succeeds(command)
    })
}
