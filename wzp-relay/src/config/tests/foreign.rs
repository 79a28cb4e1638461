//! Files that are no configuration.

use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn load_file(path: &std::path::Path) -> String {
    let flags = Flags::parse(["wzp-relay", "--config", path.to_str().unwrap()]);
    Loaded::with_environment(&flags.unwrap(), std::iter::empty()).unwrap_err().to_string()
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("relay.toml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let cases = [
        (pipe, "a pipe"),
        ("/dev/zero".into(), "a device"),
        (folder.path().to_owned(), "a folder"),
    ];
    for (path, what) in cases {
        let error = load_file(&path);
        let place = path.to_str().unwrap();
        assert!(
            error.contains(place) && error.contains(what) && error.contains("regular file"),
            "{error}"
        );
    }
}

#[test]
fn a_megabyte_of_unknown_keys_is_told_in_a_few_lines() {
    let text: String = (0..60_000).map(|number| format!("sesions_{number:05}=1\n")).collect();
    let began = Instant::now();
    let error = parse(&text).unwrap_err();
    // With a comparison of each with every key it is a minute.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(error.lines().count(), 22, "{error}");
    assert!(error.contains("\n  sesions_00000 (file FILE:1): no such key"), "{error}");
    assert!(error.ends_with("\n  and 59980 more"), "{error}");

    let longer = load_file(&file(&"#".repeat((1 << 20) + 1)).1);
    assert!(longer.contains("1048576 bytes"), "{longer}");
}
