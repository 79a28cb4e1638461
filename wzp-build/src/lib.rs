//! For build scripts: from which commit, and with which features, a program is built.
//!
//! A package that is built so gets two variables for `env!`:
//!
//! * `BUILD_COMMIT`: what the variable of that name says; else the first twelve digits of the
//!   commit that was checked out; `unknown` where there is no repository, as in a tarball.
//!   A debug build says `development`: it is of files that change all the time, and each
//!   commit would build the program again
//! * `BUILD_FEATURES`: the package's features, comma-separated, or `none`
//!
//! They do not begin with WZP_: cargo gives them to what it runs, too, and the relay takes
//! such for settings. No date and no path, so that the same commit gives the same program.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that packagers set, and that the program is given.
const COMMIT: &str = "BUILD_COMMIT";

const UNKNOWN: &str = "unknown";
const DEVELOPMENT: &str = "development";

/// Tells cargo both, and when to ask again: when another commit is checked out, for a
/// release, and never at each build. To be called in a build script.
pub fn tell() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let found = if env::var("PROFILE").as_deref() == Ok("debug") {
        Some(DEVELOPMENT.to_owned())
    } else {
        checked_out()
    };
    println!("cargo::rustc-env={COMMIT}={}", commit(env::var(COMMIT).ok(), found));
    println!("cargo::rustc-env=BUILD_FEATURES={}", features(env::vars().map(|(name, _)| name)));
}

/// The commit of the repository that the package is in, if it is in one.
fn checked_out() -> Option<String> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)?;
    let repository = Repository::of(package.parent()?)?;
    for file in repository.that_move_with_the_commit() {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    repository.commit()
}

/// What a packager says wins. It becomes the label of a metric and part of a line.
fn commit(given: Option<String>, found: Option<String>) -> String {
    let is_name = |text: &String| {
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    given.filter(is_name).or(found).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// The features of the package that is built, from the variables that cargo sets.
fn features(variables: impl Iterator<Item = String>) -> String {
    let name = |variable: String| Some(variable.strip_prefix("CARGO_FEATURE_")?.to_lowercase());
    let mut names: Vec<_> = variables.filter_map(name).filter(|name| name != "default").collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

/// The repository whose root is the workspace, and not one around a tarball.
struct Repository<'a>(&'a Path);

impl<'a> Repository<'a> {
    fn of(root: &'a Path) -> Option<Self> {
        let found = Self(root);
        let top = PathBuf::from(found.git(&["rev-parse", "--show-toplevel"])?);
        (top.canonicalize().ok()? == root.canonicalize().ok()?).then_some(found)
    }

    fn commit(&self) -> Option<String> {
        self.git(&["rev-parse", "--short=12", "HEAD"])
    }

    /// HEAD changes when another branch is checked out, its log also when the branch gets a
    /// commit, and so does the branch itself where there is no log.
    fn that_move_with_the_commit(&self) -> Vec<PathBuf> {
        let branch = self.git(&["symbolic-ref", "--quiet", "HEAD"]);
        let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
        let files = names.filter_map(|name| self.git(&["rev-parse", "--git-path", name]));
        // What is not there would have cargo ask at each build.
        files.map(|file| self.0.join(file)).filter(|file| file.exists()).collect()
    }

    /// What git says, if there is a git and it says something.
    fn git(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("git").arg("-C").arg(self.0).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let text = text.trim();
        (output.status.success() && !text.is_empty()).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn features_are_those_that_cargo_names() {
        for (variables, expected) in [
            (&["PATH", "CARGO_CFG_UNIX"][..], "none"),
            (&["CARGO_FEATURE_DEFAULT"], "none"),
            (&["CARGO_FEATURE_LIVE", "CARGO_FEATURE_DEFAULT", "CARGO_FEATURE_A_B"], "a_b,live"),
        ] {
            assert_eq!(features(variables.iter().map(ToString::to_string)), expected);
        }
    }

    #[test]
    fn a_packager_says_more_than_a_repository_and_nobody_is_unknown() {
        let text = |text: &str| Some(text.to_owned());
        for (given, found, expected) in [
            (None, None, UNKNOWN),
            (None, text("abc"), "abc"),
            (text("v1"), text("abc"), "v1"),
            (text("v1"), None, "v1"),
            (text(""), text("abc"), "abc"),
            (text("a b\n"), text("abc"), "abc"),
            (Some("x".repeat(65)), None, UNKNOWN),
        ] {
            assert_eq!(commit(given.clone(), found), expected, "{given:?}");
        }
    }

    #[test]
    fn the_commit_is_that_of_the_workspace_and_a_commit_moves_a_file_that_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let git = |arguments: &str| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
            let mut command = Command::new("git");
            command.current_dir(root).args(identity).args(arguments.split(' '));
            assert!(command.output().unwrap().status.success(), "git {arguments}");
        };
        assert!(Repository::of(root).is_none(), "there is none");
        git("init --quiet");
        assert_eq!(Repository::of(root).unwrap().commit(), None, "no commit yet");
        git("commit --quiet --allow-empty --message first");
        let repository = Repository::of(root).unwrap();
        let first = repository.commit().unwrap();
        assert_eq!(first.len(), 12);
        let read = |files: &[PathBuf]| files.iter().map(|file| fs::read(file).unwrap()).collect();
        for message in ["second", "packed"] {
            let files = repository.that_move_with_the_commit();
            let before: Vec<_> = read(&files);
            git(&format!("commit --quiet --allow-empty --message {message}"));
            assert_ne!(before, read(&files), "{files:?}");
            assert_ne!(repository.commit().unwrap(), first);
            git("pack-refs --all");
        }

        // A tarball that was unpacked within somebody's repository.
        let inner = root.join("wzp");
        fs::create_dir(&inner).unwrap();
        assert!(Repository::of(&inner).is_none());
    }
}
