//! The audit log through its public face.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;
use wzp_telemetry::audit::{
    Audit, AuditError, Outcome, User, Verified, VerifyError, verify, verify_in_order,
};
use wzp_telemetry::settings::{self, AuditEvent};

fn settings() -> settings::Audit {
    settings::Audit { enabled: true, ..settings::Audit::default() }
}

fn start(path: &Path) -> Audit {
    Audit::start(&settings(), path).unwrap()
}

fn record(audit: &Audit, n: u64) -> Result<(), AuditError> {
    let user = User::Operator { uid: 0 };
    audit.record(AuditEvent::AdminAction, &user, Outcome::Success, &json!({ "n": n }))
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/audit.log");
    (folder, path)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first bad line.
fn bad_line(path: &Path) -> u64 {
    match verify(path) {
        Err(VerifyError::Tampered { line, .. }) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_file_is_refused_at_once_and_what_strangers_choose_is_escaped() {
    let (folder, path) = place();
    let pipe = folder.path().join("pipe");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    for (path, what) in [(pipe.as_path(), "a pipe"), (Path::new("/dev/zero"), "a device")] {
        let refused = Audit::start(&settings(), path).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
        assert!(verify(path).unwrap_err().to_string().contains(what));
    }
    // Of no line end, and larger than any memory.
    let endless = folder.path().join("endless");
    fs::File::create(&endless).unwrap().set_len(1 << 40).unwrap();
    assert!(Audit::start(&settings(), &endless).is_err() && bad_line(&endless) == 1);

    let audit = start(&path);
    let user = User::Peer { session: "7".into() };
    let details = json!({ "room": "eve\u{85}\u{202e}" });
    audit.record(AuditEvent::SessionStart, &user, Outcome::Success, &details).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""room":"eve\u0085\u202e""#), "{text}");
    assert_eq!(lines(&path)[0]["details"], details);
    assert_eq!(verify(&path).unwrap().records, 1);
}

#[test]
fn what_belongs_to_the_file_is_beside_it_and_not_beside_a_link() {
    let (folder, path) = place();
    let link = folder.path().join("link");
    symlink("logs/audit.log", &link).unwrap();
    assert!(Audit::check(&settings(), &link).is_err() && Audit::start(&settings(), &link).is_err());
    fs::create_dir(path.parent().unwrap()).unwrap();
    Audit::check(&settings(), &link).unwrap();
    record(&start(&link), 1).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half").unwrap();
    let audit = start(&link);
    let count = |folder: &Path| fs::read_dir(folder).unwrap().count();
    assert_eq!((count(folder.path()), count(path.parent().unwrap())), (2, 2), "the torn line");

    // An operator has it go on elsewhere.
    fs::remove_file(&link).unwrap();
    symlink("logs/next.log", &link).unwrap();
    audit.reopen().unwrap();
    record(&audit, 2).unwrap();
    let files = [path.clone(), path.with_file_name("next.log")];
    assert_eq!(verify_in_order(&files).map(|files| files.len()).unwrap(), 2);
}

#[test]
fn an_error_is_told_once() {
    let (_folder, path) = place();
    let audit = start(&path);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let told = record(&audit, 1).unwrap_err().to_string();
    let reason = "No such file or directory (os error 2)";
    let expected = format!(
        "the audit log {} cannot be written: {reason}; tried again every second",
        path.display()
    );
    assert_eq!(told, expected);
}

#[test]
fn records_are_as_the_guide_shows_them_and_only_their_owner_reads_them() {
    let (_folder, path) = place();
    let audit = start(&path);
    let details = json!({"old_key_id": "abc123", "new_key_id": "def456"});
    let user = User::Operator { uid: 0 };
    audit.record(AuditEvent::KeyRotation, &user, Outcome::Success, &details).unwrap();
    let line = &lines(&path)[0];
    assert_eq!(line["event"], "key_rotation");
    assert_eq!(line["result"], "success");
    assert_eq!(line["details"], details);
    assert!(line["user"].as_str().unwrap().starts_with("root@"), "{line}");
    humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(audit.counts().records, 1);
    assert!(audit.is_healthy());
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let (_folder, path) = place();
    for n in 0..3 {
        let audit = start(&path);
        record(&audit, n).unwrap();
        audit.note(AuditEvent::SessionEnd, &User::Program, Outcome::Success, &json!({}));
    }
    let verified = verify(&path).unwrap();
    assert_eq!((verified.records, verified.previous), (6, "0".repeat(64)));
    let last = lines(&path).pop().unwrap();
    assert_eq!((&last["sequence"], &last["hash"]), (&json!(6), &json!(verified.last_hash)));
    assert_eq!(last["timestamp"], verified.last);
}

#[test]
fn only_the_chosen_events_are_written() {
    let (_folder, path) = place();
    let mut settings = settings();
    settings.events = Some(vec![AuditEvent::ConfigChange]);
    let audit = Audit::start(&settings, &path).unwrap();
    record(&audit, 1).unwrap();
    settings.events = Some(vec![AuditEvent::ConfigChange, AuditEvent::AdminAction]);
    audit.apply(&settings);
    record(&audit, 2).unwrap();
    let numbers: Vec<_> = lines(&path).iter().map(|line| line["details"]["n"].clone()).collect();
    assert_eq!(numbers, [2]);

    let off = Audit::start(&settings::Audit::default(), Path::new("/nowhere/at/all")).unwrap();
    record(&off, 1).unwrap();
    off.reopen().unwrap();
    assert!(off.is_healthy());
}

#[test]
fn records_of_many_threads_are_all_there_each_threads_in_order() {
    let (_folder, path) = place();
    let audit = start(&path);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let audit = &audit;
            scope.spawn(move || {
                for n in 0..50 {
                    let (user, details) = (User::Program, json!({"thread": thread, "n": n}));
                    if n % 10 == 9 {
                        audit
                            .record(AuditEvent::Lifecycle, &user, Outcome::Success, &details)
                            .unwrap();
                    } else {
                        audit.note(AuditEvent::SessionStart, &user, Outcome::Success, &details);
                    }
                }
            });
        }
    });
    assert_eq!(verify(&path).unwrap().records, 200);
    for thread in 0..4 {
        let own = lines(&path).into_iter().filter(|line| line["details"]["thread"] == thread);
        let numbers: Vec<_> = own.map(|line| line["details"]["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn a_new_file_continues_the_one_that_was_moved_away() {
    let (folder, path) = place();
    let audit = start(&path);
    record(&audit, 1).unwrap();
    audit.reopen().unwrap();
    record(&audit, 2).unwrap();
    let archive = folder.path().join("archive.log");
    fs::rename(&path, &archive).unwrap();
    record(&audit, 3).unwrap();
    audit.reopen().unwrap();
    record(&audit, 4).unwrap();

    let (old, new) = (verify(&archive).unwrap(), verify(&path).unwrap());
    assert_eq!((old.records, new.records), (3, 2));
    assert_eq!(new.previous, old.last_hash);
    let first = &lines(&path)[0];
    assert_eq!((&first["event"], &first["sequence"]), (&json!("lifecycle"), &json!(4)));
    assert_eq!(first["details"]["continues"], old.last_hash);
}

#[test]
fn a_new_file_has_one_writer_too_and_the_old_one_goes_on_until_it_is_had() {
    let (folder, path) = place();
    let audit = start(&path);
    record(&audit, 1).unwrap();
    fs::rename(&path, folder.path().join("archive.log")).unwrap();
    let other = start(&path);
    let refused = audit.reopen();
    assert!(matches!(refused, Err(AuditError::Taken { .. })), "{refused:?}");
    record(&audit, 2).unwrap();
    drop(other);
    audit.reopen().unwrap();
    record(&audit, 3).unwrap();
    let mut files = [folder.path().join("archive.log"), path];
    let verified = verify_in_order(&files).unwrap();
    assert_eq!(verified.iter().map(|file| file.records).collect::<Vec<_>>(), [2, 2]);
    files.reverse();
    let error = verify_in_order(&files).unwrap_err().to_string();
    assert!(error.contains("archive.log, line 1: its first record is of "), "{error}");
    assert!(error.ends_with("the files are not in order; give the oldest first"), "{error}");
}

#[test]
fn files_that_were_moved_away_while_records_come_are_one_chain_without_a_gap() {
    let (folder, path) = place();
    let audit = start(&path);
    let archive = |number| folder.path().join(format!("archive-{number}.log"));
    std::thread::scope(|scope| {
        let (audit, path) = (&audit, &path);
        scope.spawn(move || {
            for number in 0..20 {
                fs::rename(path, archive(number)).unwrap();
                audit.reopen().unwrap();
            }
        });
        for n in 0..2000 {
            audit.note(AuditEvent::SessionEnd, &User::Program, Outcome::Success, &json!({"n": n}));
        }
        record(audit, 2000).unwrap();
    });
    drop(audit);
    let files: Vec<_> = (0..20).map(archive).chain([path]).collect();
    let verified = verify_in_order(&files).unwrap();
    assert!(verified[0].records == 0 || verified[0].begins_chain());
    let records = files.iter().flat_map(|file| lines(file));
    let numbers: Vec<_> = records.filter_map(|line| line["details"]["n"].as_u64()).collect();
    assert_eq!(numbers, (0..=2000).collect::<Vec<_>>());
}

#[test]
fn files_are_one_chain_only_in_their_order_and_without_a_gap() {
    let (folder, path) = place();
    let audit = start(&path);
    let [first, second] = ["1.log", "2.log"].map(|name| folder.path().join(name));
    for archive in [&first, &second] {
        record(&audit, 1).unwrap();
        fs::rename(&path, archive).unwrap();
        audit.reopen().unwrap();
    }
    record(&audit, 1).unwrap();
    drop(audit);
    let cut = folder.path().join("cut.log");
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&cut, text.split_inclusive('\n').next().unwrap()).unwrap();
    let empty = folder.path().join("empty.log");
    fs::write(&empty, "").unwrap();
    let anew = folder.path().join("anew.log");
    record(&start(&anew), 1).unwrap();

    let files = |paths: &[&PathBuf]| paths.iter().map(|path| (*path).clone()).collect::<Vec<_>>();
    for good in [&[&first, &second, &path][..], &[&second, &path], &[&first, &empty, &second]] {
        let verified = verify_in_order(&files(good)).unwrap();
        let links = verified.iter().filter(|file| file.records > 0);
        let links: Vec<_> =
            links.map(|Verified { previous, last_hash, .. }| (previous, last_hash)).collect();
        assert!(links.windows(2).all(|pair| pair[0].1 == pair[1].0), "{links:?}");
    }
    for (bad, at, why) in [
        (&[&first, &path][..], &path, "does not continue"),
        (&[&second, &first], &first, "not in order"),
        (&[&first, &cut, &path], &path, "does not continue"),
        (&[&path, &path], &path, "not in order"),
        (&[&path, &anew], &anew, "new chain"),
    ] {
        let error = verify_in_order(&files(bad)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}, line 1: ", at.display())), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_file_tells_how_many_failures_were_left_out_of_it() {
    let (folder, path) = place();
    let settings = settings::Audit { auth_failures_per_minute: 1, ..settings() };
    let audit = Audit::start(&settings, &path).unwrap();
    let fail = |n: u64| {
        audit.note(AuditEvent::AuthFailure, &User::Program, Outcome::Failure, &json!({ "n": n }));
    };
    (0..10).for_each(fail);
    // Nothing else has a limit.
    (0..10).for_each(|n| record(&audit, n).unwrap());
    let archive = folder.path().join("archive.log");
    fs::rename(&path, &archive).unwrap();
    audit.reopen().unwrap();
    let failures = |path: &Path| {
        let lines = lines(path).into_iter().filter(|line| line["event"] == "auth_failure");
        lines.map(|line| line["details"].clone()).collect::<Vec<_>>()
    };
    let told =
        |count| json!({"left_out": count, "reason": "more than audit.auth_failures_per_minute"});
    assert_eq!(failures(&archive), [json!({"n": 0}), told(9)]);
    assert_eq!((audit.counts().left_out, audit.counts().lost), (9, 0));

    fail(10);
    audit.apply(&settings::Audit { auth_failures_per_minute: u32::MAX, ..settings });
    fail(11);
    drop(audit);
    assert_eq!(failures(&path), [json!({"n": 11}), told(1)]);
    verify_in_order(&[archive, path]).unwrap();
}

#[test]
fn a_deleted_file_is_noticed_and_the_new_one_tells() {
    let (_folder, path) = place();
    let audit = start(&path);
    record(&audit, 1).unwrap();
    let before = verify(&path).unwrap().last_hash;
    fs::remove_file(&path).unwrap();
    record(&audit, 2).unwrap();
    let found = lines(&path);
    assert_eq!(found[0]["details"]["reason"], "the file was deleted");
    assert_eq!(found[0]["details"]["continues"], before);
    assert_eq!(found[1]["details"]["n"], 2);
    assert_eq!(verify(&path).unwrap().previous, before);
}

#[test]
fn a_disk_that_fails_is_told_and_no_record_is_lost() {
    let (_folder, path) = place();
    let audit = start(&path);
    record(&audit, 1).unwrap();
    let logs = path.parent().unwrap();
    fs::remove_dir_all(logs).unwrap();
    let refused = record(&audit, 2);
    assert!(matches!(refused, Err(AuditError::Write { .. })), "{refused:?}");
    audit.note(AuditEvent::SessionEnd, &User::Program, Outcome::Success, &json!({"n": 3}));
    assert!(!audit.is_healthy());
    assert!(audit.counts().errors > 0);

    fs::create_dir(logs).unwrap();
    record(&audit, 4).unwrap();
    assert!(audit.is_healthy());
    let found = lines(&path);
    let numbers: Vec<_> = found[1..].iter().map(|line| line["details"]["n"].clone()).collect();
    assert_eq!(numbers, [2, 3, 4]);
    verify(&path).unwrap();
}

#[test]
fn what_does_not_fit_while_the_disk_fails_is_counted_in_the_file() {
    let (_folder, path) = place();
    let audit = start(&path);
    let logs = path.parent().unwrap();
    fs::remove_dir_all(logs).unwrap();
    let details = json!({"text": "x".repeat(1 << 20)});
    for _ in 0..10 {
        audit.note(AuditEvent::SessionEnd, &User::Program, Outcome::Success, &details);
    }
    let lost = audit.counts().lost;
    assert!((1..10).contains(&lost), "{lost}");
    // What operators do has room that participants cannot take, until that is full.
    let (mut kept, mut full) = (0, 0);
    for _ in 0..4 {
        match audit.record(AuditEvent::AdminAction, &User::Signal, Outcome::Success, &details) {
            Err(AuditError::Write { .. }) => kept += 1,
            Err(AuditError::Full) => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(kept > 0 && full > 0, "{kept} {full}");

    fs::create_dir(logs).unwrap();
    record(&audit, 1).unwrap();
    let told: Vec<_> =
        lines(&path).iter().filter_map(|line| line["details"]["lost"].as_u64()).collect();
    assert_eq!(told.iter().sum::<u64>(), lost + full);
    verify(&path).unwrap();
}

#[test]
fn a_line_that_a_crash_cut_short_is_moved_aside() {
    let (_folder, path) = place();
    record(&start(&path), 1).unwrap();
    record(&start(&path), 2).unwrap();
    let whole = fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [first + 1, first + 70_000.min(whole.len() - first) / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(bad_line(&path), 2);
        record(&start(&path), 3).unwrap();
        let numbers: Vec<_> =
            lines(&path).iter().map(|line| line["details"]["n"].clone()).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(verify(&path).unwrap().records, 2);
        let entries = fs::read_dir(path.parent().unwrap()).unwrap();
        let mut aside = entries
            .map(|entry| entry.unwrap().path())
            .filter(|name| name.to_string_lossy().contains("audit.log.torn-"));
        let torn = aside.next().unwrap();
        assert_eq!(fs::read(&torn).unwrap(), whole[first..cut]);
        fs::remove_file(torn).unwrap();
    }
}

#[test]
fn a_file_whose_end_was_tampered_with_is_not_continued() {
    let (_folder, path) = place();
    record(&start(&path), 1).unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("\"n\":1", "\"n\":2");
    fs::write(&path, text).unwrap();
    let refused = Audit::start(&settings(), &path);
    assert!(matches!(refused, Err(AuditError::Broken { .. })), "{refused:?}");
}

#[test]
fn a_file_has_one_writer() {
    let (_folder, path) = place();
    let audit = start(&path);
    let refused = Audit::start(&settings(), &path);
    assert!(matches!(refused, Err(AuditError::Taken { .. })), "{refused:?}");
    drop(audit);
    start(&path);
}

/// Ten records, as they were written.
static INTACT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (_folder, path) = place();
    let audit = start(&path);
    (1..=10).for_each(|n| record(&audit, n).unwrap());
    fs::read(&path).unwrap()
});

fn bad_line_of(bytes: &[u8]) -> u64 {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    bad_line(file.path())
}

#[test]
fn deleting_moving_and_copying_records_is_found() {
    let intact: Vec<&[u8]> = INTACT.split_inclusive(|byte| *byte == b'\n').collect();
    type Change = fn(&mut Vec<&[u8]>);
    let changes: [(&str, Change, u64); 5] = [
        ("one in the middle deleted", |lines| *lines = [&lines[..4], &lines[5..]].concat(), 5),
        ("the first two swapped", |lines| lines.swap(0, 1), 2),
        ("two swapped", |lines| lines.swap(4, 5), 5),
        ("one doubled", |lines| lines.insert(4, lines[4]), 6),
        ("an empty line", |lines| lines.insert(9, b"\n"), 10),
    ];
    for (what, change, expected) in changes {
        let mut lines = intact.clone();
        change(&mut lines);
        assert_eq!(bad_line_of(&lines.concat()), expected, "{what}");
    }
}

#[test]
fn what_is_cut_off_at_the_end_shows_only_by_the_hash_kept_elsewhere() {
    let (_folder, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &*INTACT).unwrap();
    let whole = verify(&path).unwrap();
    let end_of_ninth = INTACT[..INTACT.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    fs::write(&path, &INTACT[..=end_of_ninth]).unwrap();
    let cut = verify(&path).unwrap();
    assert_eq!((whole.records, cut.records), (10, 9));
    assert_ne!(whole.last_hash, cut.last_hash);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&whole.last_hash), "as docs/logging.md says to look for");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_other_byte_anywhere_is_found(at in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut bytes = INTACT.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let line = INTACT[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        prop_assert_eq!(bad_line_of(&bytes), line);
    }
}

/// Not a test: the process that is killed. Says each number once it is recorded.
#[test]
#[ignore = "started by the test below"]
fn recorder() {
    let path = PathBuf::from(std::env::var_os("AUDIT_KILL_FILE").unwrap());
    let first: u64 = std::env::var("AUDIT_KILL_FIRST").unwrap().parse().unwrap();
    let audit = start(&path);
    let mut out = std::io::stdout();
    for n in first.. {
        record(&audit, n).unwrap();
        // Not println, which the test harness would keep.
        out.write_all(format!("{n}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

fn start_recorder(path: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recorder", "--ignored", "--nocapture", "--quiet"])
        .env("AUDIT_KILL_FILE", path)
        .env("AUDIT_KILL_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_after_the_file_was_moved_away_leaves_it_whole_and_the_next_one_begins_a_chain() {
    let (folder, path) = place();
    let mut recorder = start_recorder(&path, 1);
    let said = BufReader::new(recorder.stdout.take().unwrap());
    let mut numbers =
        said.lines().map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
    numbers.next().unwrap();
    let archive = folder.path().join("archive.log");
    fs::rename(&path, &archive).unwrap();
    // What is recorded now is in the file that was moved.
    let last = numbers.nth(9).unwrap();
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    let last = numbers.last().unwrap_or(last);
    assert!(!path.exists());

    let audit = start(&path);
    record(&audit, 0).unwrap();
    let [next, begun] = [&path, &archive].map(|path| verify(path));
    assert!(next.as_ref().unwrap().begins_chain());
    // The kill may have cut its last line short, which was not said to be recorded.
    match begun {
        Ok(found) => assert!(found.records >= last && found.begins_chain()),
        Err(VerifyError::Tampered { line, .. }) => assert!(line > last),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn no_record_is_lost_by_a_kill_and_the_chain_holds() {
    let (_folder, path) = place();
    let mut next = 1;
    for round in 0..30_u64 {
        let mut recorder = start_recorder(&path, next);
        let said = BufReader::new(recorder.stdout.take().unwrap());
        let mut numbers =
            said.lines().map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
        let mut last = numbers.next().unwrap();
        assert_eq!(last, next);
        // Not waiting for anything: the moment of the kill is what is varied.
        std::thread::sleep(Duration::from_micros(round * 331 % 5000));
        recorder.kill().unwrap();
        recorder.wait().unwrap();
        last = numbers.last().unwrap_or(last);

        // A next start repairs the end.
        drop(start(&path));
        verify(&path).unwrap();
        let found = lines(&path);
        let all = found.iter().map(|line| line["details"]["n"].as_u64().unwrap());
        assert!(all.eq(1..=found.len() as u64), "round {round}");
        assert!(found.len() as u64 >= last, "{last} was recorded, {} are there", found.len());
        next = found.len() as u64 + 1;
    }
}
