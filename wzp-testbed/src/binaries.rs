//! Where cargo has put the programs under test.

use std::path::{Path, PathBuf};

/// The relay beside this test.
///
/// # Panics
/// It has not been built.
pub fn relay() -> PathBuf {
    built("wzp-relay")
}

/// The client beside this test.
///
/// # Panics
/// It has not been built.
pub fn client() -> PathBuf {
    built("wzp-client")
}

/// The folder of the build profile in use, such as `target/debug`.
///
/// # Panics
/// The running program has no path.
pub fn profile_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    let folder = program.parent().expect("a program is in a folder");
    // Tests are in target/<profile>/deps, programs in target/<profile>.
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf()
}

/// The folder all build output goes to, such as `target`.
///
/// # Panics
/// The running program has no path.
pub fn target_directory() -> PathBuf {
    let profile = profile_directory();
    profile.parent().map_or(profile.clone(), Path::to_path_buf)
}

fn built(name: &str) -> PathBuf {
    let path = profile_directory().join(name);
    assert!(
        path.is_file(),
        "{} is missing: this test runs the real {name}, which cargo does not build for it.\n\
         Run `cargo xtask test`, or `cargo build --workspace` before the test.",
        path.display()
    );
    path
}
