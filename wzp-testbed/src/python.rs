//! The programs in `tools/`, and the Python that runs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::binaries::target_directory;
use crate::process::Process;

/// Where `cargo xtask setup` puts the Python environment of `tools/`.
pub fn environment() -> PathBuf {
    target_directory().join("tools-venv")
}

/// The interpreter with the packages of `tools/requirements.txt`.
pub fn interpreter() -> PathBuf {
    environment().join("bin/python")
}

/// A program of `tools/`.
pub fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools").join(name)
}

/// What lacks for the programs in `tools/` to run.
pub fn missing() -> Option<String> {
    let python = interpreter();
    (!python.exists()).then(|| {
        format!("the Python environment {} (made by `cargo xtask setup`)", python.display())
    })
}

/// Perceptual quality of `heard` against `said`, wide band: from about 1 (bad)
/// to 4.64 (no difference). ITU-T P.862.2.
///
/// # Errors
/// The tool cannot judge the files.
pub fn pesq(said: &Path, heard: &Path) -> Result<f64> {
    let mut command = Command::new(interpreter());
    command.arg(tool("pesq_score.py")).args([said, heard]);
    let mut process = Process::start("pesq_score.py", command)?;
    let status = process.wait(Duration::from_secs(120))?;
    ensure!(status.success(), "pesq_score.py: {status}\n{}", process.stderr());
    let score = process.rest_of_stdout();
    score.trim().parse().with_context(|| format!("pesq_score.py printed {score:?}"))
}
