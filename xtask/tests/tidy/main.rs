//! The house stays as it was planned (`house.rs`).

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

mod arrows;
mod house;
mod picture;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrows::Arrows;
use source::{Module, Source};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn modules_of(name: &str) -> BTreeMap<Module, Source> {
    source::modules(&root().join(name).join("src"))
}

/// Every file of every crate, by its path from here.
fn sources() -> Vec<(String, Source)> {
    let modules = house::CRATES.iter().flat_map(|(name, _)| modules_of(name).into_values());
    let named = modules.map(|source| {
        let path = source.path.strip_prefix(root()).unwrap();
        (path.to_str().unwrap().to_owned(), source)
    });
    named.collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> BTreeSet<String> {
    names.into_iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn crates_use_those_that_they_may() {
    let crates = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        (name.starts_with("wzp-") || name == "xtask") && path.join("Cargo.toml").exists()
    };
    for path in crates.filter(is_ours) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap();
        let uses = section.lines().filter(|line| line.starts_with("wzp-"));
        let uses: BTreeSet<_> = uses.map(|line| line.split(['.', ' ']).next().unwrap()).collect();
        let planned = house::CRATES.iter().find(|(planned, _)| *planned == name);
        let (_, may) = planned.unwrap_or_else(|| panic!("{name} is not in the plan"));
        assert_eq!(set(&uses), set(*may), "what {name} uses, and what it may");
    }
}

#[test]
fn rooms_use_those_that_they_may() {
    for (name, rooms) in house::ROOMS {
        let found = arrows::of(&modules_of(name)).remove(&Module::new()).unwrap_or_default();
        let planned: Arrows =
            rooms.iter().map(|(room, may)| ((*room).to_owned(), set(*may))).collect();
        assert_eq!(found, planned, "what rooms of {name} use, and what they may");
    }
}

#[test]
fn nothing_goes_in_circles() {
    for (name, _) in house::CRATES {
        for (folder, mut arrows) in arrows::of(&modules_of(name)) {
            let place = folder.join("/");
            for (_, _, halves) in
                house::HALVES.iter().filter(|(of, at, _)| of == name && *at == place)
            {
                let circle = arrows::circle(&arrows).expect("two halves no more: take them off");
                assert_eq!(set(*halves), circle.into_iter().collect());
                for half in *halves {
                    arrows.get_mut(*half).unwrap().retain(|used| !halves.contains(&used.as_str()));
                }
            }
            assert_eq!(arrows::circle(&arrows), None, "in {name}, {place:?}");
        }
    }
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let found = sources().into_iter().filter(|(_, source)| source.is_unsafe);
    let found: BTreeSet<_> = found.map(|(path, _)| path).collect();
    assert_eq!(found, set(house::UNSAFE.iter().map(|(path, _)| path)));
}

#[test]
fn files_have_one_purpose() {
    let found = sources().into_iter().filter(|(_, source)| source.lines > house::LONGEST);
    let found: BTreeSet<_> = found.map(|(path, _)| path).collect();
    assert_eq!(found, set(house::LONG.iter().map(|(path, _)| path)));
}

#[test]
fn log_lines_have_targets() {
    for name in house::LOGGING {
        for source in modules_of(name).into_values() {
            assert_eq!(source.untargeted, [""; 0], "{}", source.path.display());
        }
    }
}

#[test]
fn the_picture_is_of_this_house() {
    let path = root().join("docs/design.md");
    let page = fs::read_to_string(&path).unwrap();
    let (open, close) = ("<!-- house -->\n", "<!-- /house -->");
    let (before, rest) = page.split_once(open).unwrap();
    let (_, after) = rest.split_once(close).unwrap();
    let drawn = format!("{before}{open}\n{}\n{close}{after}", picture::draw());
    if std::env::var_os("WZP_WRITE_DOCS").is_some() {
        fs::write(path, drawn).unwrap();
    } else {
        assert!(page == drawn, "docs/design.md shows another house: cargo xtask docs");
    }
}

/// Pages name files where they are.
#[test]
fn pages_name_files_that_exist() {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.chain([root().join("README.md")]);
    for page in pages.filter(|page| page.extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        let is_end = |c: char| !(c.is_ascii_alphanumeric() || "/_-.".contains(c));
        for word in text.split(is_end) {
            let is_file = (word.starts_with("wzp-") || word.starts_with("xtask/"))
                && word.contains("/src/") | word.contains("/tests/");
            let path = root().join(word.trim_end_matches('.'));
            // A file that a module's name stands for, or a folder.
            let is_there = path.exists() || path.with_extension("rs").exists();
            assert!(!is_file || is_there, "{} names {word}", page.display());
        }
    }
}

/// A crate of these files, and what is found in it.
fn made_up(files: &[(&str, &str)]) -> BTreeMap<Module, Arrows> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    arrows::of(&source::modules(folder.path()))
}

#[test]
fn an_arrow_the_wrong_way_is_found_however_it_is_written() {
    let ways = [
        "use crate::above::Thing;",
        "use crate::{above::{self, Thing}};",
        "fn f() { crate::above::thing() }",
        "fn f() { print!(\"{}\", crate::above::THING) }",
        "use super::above::Thing;",
        "mod inner { use super::super::above; }",
    ];
    for way in ways {
        let found = made_up(&[
            ("lib.rs", "mod above; mod below;"),
            ("above.rs", "use crate::below::Part;"),
            ("below.rs", way),
        ]);
        let is_found = arrows::circle(&found[&Module::new()]).is_some();
        assert!(is_found || way.contains("inner"), "{way}");
    }
    let fine = made_up(&[
        ("lib.rs", "mod above; mod below; pub use above::Thing;"),
        ("above.rs", "use crate::below::Part;"),
        ("below.rs", "#[cfg(test)] mod tests { use crate::above::Thing; } // crate::above::Thing"),
    ]);
    assert_eq!(arrows::circle(&fine[&Module::new()]), None);
}

#[test]
fn a_circle_is_found_within_a_folder_and_between_its_files_only() {
    let files = [
        ("lib.rs", "mod room;"),
        ("room/mod.rs", "mod one; mod other; use one::One; pub struct Room;"),
        ("room/one.rs", "use super::Room; use super::other::Other;"),
        ("room/other.rs", "use super::one::One;"),
    ];
    let found = made_up(&files);
    let circle = arrows::circle(&found[&vec!["room".to_owned()]]).unwrap();
    assert_eq!(circle, ["one", "other"]);
    let found = made_up(&files[..3]);
    assert_eq!(arrows::circle(found.get(&vec!["room".to_owned()]).unwrap_or(&Arrows::new())), None);
}

#[test]
fn unsafe_code_and_log_lines_are_found() {
    let found = Source::read(
        "fn f() { unsafe { g() }; warn!(%error, \"x\"); info!(target: target::NET, \"y\"); }",
    );
    assert!(found.is_unsafe);
    assert_eq!(found.untargeted.len(), 1);
    let in_tests = Source::read("#[cfg(test)]\nmod tests { fn f() { unsafe { g() }; warn!(1); } }");
    assert!(!in_tests.is_unsafe && in_tests.untargeted.is_empty());
}

/// A licence of which `deny.toml` makes an exception asks to be named beside the program.
#[test]
fn the_package_names_what_has_another_licence() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (exceptions, lock) = (read("deny.toml"), read("Cargo.lock"));
    let told = read("deploy/debian-client/copyright").replace(['\n', ','], " ");
    let crates = exceptions.lines().filter(|line| line.contains("\"MPL-2.0\""));
    let mut found = 0;
    for line in crates {
        let name = line.split("crate = \"").nth(1).unwrap().split('"').next().unwrap();
        assert!(told.contains(&format!(" {name} ")), "{name} is not named");
        let locked = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1).unwrap();
        let version = locked.split('"').next().unwrap();
        assert!(told.contains(&format!("symphonia {version} ")), "{name} {version}");
        found += 1;
    }
    assert!(found > 0 && told.contains("License: MPL-2.0"));
}
