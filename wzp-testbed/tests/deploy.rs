//! The systemd unit, as systemd judges it, the rotation of the audit log, as logrotate
//! does it, and what is in the packages.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::temporary_state;
use wzp_testbed::{binaries, skip};

/// Exposure above which the test fails, in tenths, from 0 (nothing) to 100.
const EXPOSURE: &str = "20";

/// The unit with the relay of this build, where systemd can look at it.
fn unit() -> (TempDir, PathBuf) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/wzp-relay.service");
    let text = std::fs::read_to_string(source).unwrap();
    assert!(text.contains("/usr/bin/wzp-relay "));
    let text = text.replace("/usr/bin/wzp-relay", binaries::relay().to_str().unwrap());
    let folder = temporary_state().unwrap();
    let path = folder.path().join("wzp-relay.service");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// `None` where there is no systemd-analyze, which is said.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let (_folder, unit) = unit();
    match Command::new("systemd-analyze").args(arguments).arg(&unit).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("note: systemd-analyze is missing; the unit was not checked");
            None
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a program's package: where each is in it, and here.
fn packed(program: &str) -> BTreeMap<PathBuf, PathBuf> {
    let folder = root().join(program);
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut packed = BTreeMap::new();
    for asset in assets {
        let [source, into] = [0, 1].map(|part| asset[part].as_str().unwrap());
        let source = folder.join(source);
        let name = source.file_name().unwrap().to_str().unwrap();
        // Of what is built there is nothing to be seen yet.
        let Ok(files) = std::fs::read_dir(source.parent().unwrap()) else { continue };
        let files = files.map(|entry| entry.unwrap().path());
        let (start, end) = name.split_once('*').unwrap_or((name, ""));
        for file in files.filter(|file| file.is_file()) {
            let found = file.file_name().unwrap().to_str().unwrap().to_owned();
            let is_it = if name.contains('*') {
                found.starts_with(start) && found.ends_with(end)
            } else {
                found == name
            };
            if is_it {
                let into =
                    if into.ends_with('/') { Path::new(into).join(found) } else { into.into() };
                packed.insert(into, file);
            }
        }
    }
    packed
}

/// Where the links of a page lead that are not to other hosts.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or_default())
}

fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
        normal
    })
}

#[test]
fn links_between_pages_hold_in_the_package() {
    let packed = packed("wzp-relay");
    let is_page = |file: &&PathBuf| file.extension().is_some_and(|end| end == "md");
    let pages: Vec<_> = packed.keys().filter(is_page).collect();
    assert!(pages.len() > 12, "{pages:?}");
    for page in pages {
        let text = std::fs::read_to_string(&packed[page]).unwrap();
        for link in links(&text) {
            let target = normal(&page.parent().unwrap().join(link));
            assert!(packed.contains_key(&target), "{} links to {link}", page.display());
        }
    }
}

#[test]
fn each_command_has_a_man_page_and_shells_complete_them() {
    let folder = temporary_state().unwrap();
    for (program, commands) in [
        (binaries::relay(), &["", "-ctl", "-ctl-top", "-ctl-events", "-config-check"][..]),
        (binaries::client(), &["", "-load"]),
    ] {
        let mut command = Command::new(&program);
        let status = command.arg("--write-pages").arg(folder.path()).status().unwrap();
        assert!(status.success());
        let name = program.file_name().unwrap().to_str().unwrap();
        for command in commands {
            let file = folder.path().join(format!("man1/{name}{command}.1"));
            let page = std::fs::read_to_string(&file).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH OPTIONS"), "{page}");
        }
        for file in
            [format!("bash/{name}.bash"), format!("zsh/_{name}"), format!("fish/{name}.fish")]
        {
            let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
            assert!(text.contains(commands[1].trim_start_matches('-')), "{file}");
        }
    }
    let output = Command::new(binaries::relay()).arg("--write-pages").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "without a folder it is no such argument");
}

#[test]
fn the_unit_has_no_mistakes() {
    // The package brings the page.
    let Some(output) = analyze(&["--man=no", "verify"]) else { return };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaints.contains("wzp-relay"), "{complaints}");
}

#[test]
fn the_unit_gives_the_relay_little() {
    let threshold = format!("--threshold={EXPOSURE}");
    let Some(output) = analyze(&["security", "--offline=true", &threshold]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn logrotate_leaves_files_that_are_one_chain() {
    if !skip::have_program("logrotate_leaves_files_that_are_one_chain", "logrotate") {
        return;
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/wzp-relay.logrotate");
    let mut text = std::fs::read_to_string(source).unwrap();
    let folder = temporary_state().unwrap();
    let file = |name: &str| folder.path().join(name);
    let log = file("audit.log");
    let section = format!("[audit]\nenabled = true\nfile = '{}'\n", log.display());
    std::fs::write(file("relay.toml"), section).unwrap();
    let loopback = Loopback::new(&["--config", file("relay.toml").to_str().unwrap()]);
    let (relay, state) = (binaries::relay(), loopback.state_dir());
    let reload = format!("{} --state-dir {} ctl reload", relay.display(), state.display());
    // The first record comes after the announcement, and empty files are not moved.
    assert!(Command::new("sh").args(["-c", &reload]).status().unwrap().success());
    for (of_package, here) in [
        (
            "/var/lib/wzp-relay/audit.log /var/log/wzp-relay/audit.log {",
            format!("{} {{", log.display()),
        ),
        ("    su wzp-relay wzp-relay\n", String::new()),
        ("if systemctl --quiet is-active wzp-relay; then systemctl reload wzp-relay; fi", reload),
    ] {
        assert!(text.contains(of_package), "{of_package}");
        text = text.replace(of_package, &here);
    }
    std::fs::write(file("rotation"), text).unwrap();
    let mut command = Command::new("logrotate");
    command.args(["--force", "--verbose", "--state"]).args([file("state"), file("rotation")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    loopback.stop();

    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_string_lossy().contains("/audit.log-")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.push(log);
    let output = Command::new(&relay).args(["audit", "verify"]).args(&files).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("chain intact") && said.contains("begins the chain"), "{said}");
}
