//! The log through its public face: what lines look like, and where they are.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use regex::Regex;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing::{Dispatch, debug, dispatcher::with_default, error, info, info_span, warn};
use wzp_telemetry::log::{Log, LogError, check};
use wzp_telemetry::settings::{Level, LogFormat, Logging};

struct Setting {
    folder: TempDir,
    log: Log,
    dispatch: Dispatch,
    settings: Logging,
}

impl Setting {
    fn new(change: impl FnOnce(&mut Logging)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("a.log"));
        let mut settings = Logging { file, format: LogFormat::Json, ..Logging::default() };
        change(&mut settings);
        let (log, dispatch) = Log::new(&settings, Vec::new()).unwrap();
        Self { folder, log, dispatch, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self, lines: impl FnOnce()) {
        with_default(&self.dispatch, lines);
        self.log.flush().unwrap();
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

/// What of an event is at top level, without what each line has.
fn fields(mut line: Value) -> Value {
    for own in ["timestamp", "level", "target", "message"] {
        assert!(line.as_object_mut().unwrap().remove(own).is_some(), "{own}");
    }
    line
}

#[test]
fn a_line_is_what_the_guides_logstash_and_kibana_look_for() {
    // Logstash's TIMESTAMP_ISO8601, LOGLEVEL and IPV4 without what Rust's regular
    // expressions lack: IPV4 is bounded by \b instead of by looking around.
    let timestamp = Regex::new(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$").unwrap();
    let byte = r"(?:25[0-5]|2[0-4]\d|1?\d{1,2})";
    let ip = format!(r"\b{byte}\.{byte}\.{byte}\.{byte}\b");
    let grok = Regex::new(&format!("(?<src_ip>{ip}).*(?<dst_ip>{ip})")).unwrap();

    let setting = Setting::new(|_| {});
    let source = std::net::Ipv4Addr::new(192, 168, 1, 100);
    setting.log(|| {
        error!(src_ip = %source, peer_id = "abc123", session = 7, "handshake failed");
        warn!("from 192.0.2.1 to 198.51.100.7: refused");
        info!(
            share = 0.5,
            ok = true,
            nothing = Option::<u64>::None,
            text = "a \"b\"\n\u{1b}[1m",
            "x"
        );
    });
    let found = lines(&setting.path("a.log"));
    for line in &found {
        assert!(timestamp.is_match(line["timestamp"].as_str().unwrap()), "{line}");
        assert_eq!(line["target"], "log");
    }
    let head = |line: &Value| (line["level"].clone(), line["message"].clone());
    assert_eq!(head(&found[0]), (json!("ERROR"), json!("handshake failed")));
    assert_eq!(
        fields(found[0].clone()),
        json!({"src_ip": "192.168.1.100", "peer_id": "abc123", "session": 7})
    );
    assert_eq!(found[1]["level"], "WARN");
    let ips = grok.captures(found[1]["message"].as_str().unwrap()).unwrap();
    assert_eq!((&ips["src_ip"], &ips["dst_ip"]), ("192.0.2.1", "198.51.100.7"));
    assert_eq!(
        fields(found[2].clone()),
        json!({"share": 0.5, "ok": true, "text": "a \"b\"\n\u{1b}[1m"})
    );
}

/// As in the audit log, so that a program need not parse twice.
#[test]
fn details_are_an_object() {
    let setting = Setting::new(|_| {});
    let details = json!({"changes": ["a: 1 -> 2"], "by": "\u{202e}"});
    setting.log(|| {
        info!(%details, "done as told");
        info!(details = "{}", other = %details, "text is text");
        info!(details = ?"no object", "nor is this one");
    });
    let found = lines(&setting.path("a.log"));
    assert_eq!(found[0]["details"], details);
    assert_eq!(
        (&found[1]["details"], &found[1]["other"]),
        (&json!("{}"), &json!(details.to_string()))
    );
    assert_eq!(found[2]["details"], json!("\"no object\""));
}

#[test]
fn what_strangers_choose_is_shown_and_not_obeyed() {
    const NAME: &str = "eve\n\u{1b}[2J\u{85}\u{202e}\u{2028}";
    let told = |format| {
        let setting = Setting::new(|settings| settings.format = format);
        setting.log(|| {
            let _span = info_span!("join", room = NAME, by = %NAME).entered();
            info!(name = NAME, error = %NAME, "{NAME}");
        });
        fs::read_to_string(setting.path("a.log")).unwrap()
    };
    let json = told(LogFormat::Json);
    let escaped = r"eve\n\u001b[2J\u0085\u202e\u2028";
    assert_eq!((json.lines().count(), json.matches(escaped).count()), (1, 5), "{json}");
    let plain = told(LogFormat::Plain);
    let escaped = r"eve\n\u{1b}[2J\u{85}\u{202e}\u{2028}";
    assert_eq!((plain.lines().count(), plain.matches(escaped).count()), (1, 5), "{plain}");
    for text in [json, plain] {
        assert!(text.trim_end().chars().all(|c| (' '..='~').contains(&c)), "{text}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let pipe = |setting: &Setting, name: &str| {
        let path = setting.path(name);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
        path
    };
    let mut setting = Setting::new(|_| {});
    // Nobody reads the pipe: to open it would wait for ever.
    setting.settings.file = Some(pipe(&setting, "pipe.log"));
    let refused = setting.log.apply(&setting.settings);
    assert!(matches!(refused, Err(LogError::NotAFile { .. })), "{refused:?}");
    let lock = pipe(&setting, "b.log.lock");
    setting.settings.file = Some(lock.with_extension(""));
    let refused = setting.log.apply(&setting.settings).unwrap_err().to_string();
    assert!(refused.contains("b.log") && refused.contains("a pipe"), "{refused}");

    // One that takes the place of the file that is written.
    setting.log(|| info!("one"));
    fs::remove_file(setting.path("a.log")).unwrap();
    pipe(&setting, "a.log");
    let refused = setting.log.reopen().unwrap_err().to_string();
    assert!(refused.contains("a.log") && refused.contains("a pipe"), "{refused}");
}

#[test]
fn a_check_ends_at_once_and_tells_what_a_start_would() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    mknodat(CWD, at("pipe.log.lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(at("folder.log.lock")).unwrap();
    fs::create_dir(at("disk")).unwrap();
    symlink("/dev/null", at("device.log.lock")).unwrap();
    symlink("new.lock", at("link.log.lock")).unwrap();
    symlink("missing/a.log", at("lost.log")).unwrap();
    symlink("disk/a.log", at("moved.log")).unwrap();
    let cases = [
        ("pipe.log", Some("pipe.log.lock: it is a pipe")),
        ("folder.log", Some("folder.log.lock: it is a folder")),
        ("device.log", Some("device.log.lock: it is a device")),
        ("lost.log", Some("No such file")),
        ("link.log", None),
        ("moved.log", None),
    ];
    for (name, part) in cases {
        let settings = Logging { file: Some(at(name)), ..Logging::default() };
        let (told, is_told) = std::sync::mpsc::channel();
        let checked = settings.clone();
        std::thread::spawn(move || told.send(check(&checked).map_err(|error| error.to_string())));
        let check = is_told.recv_timeout(Duration::from_secs(60)).expect("it ends");
        let start = Log::new(&settings, Vec::new()).map(drop).map_err(|error| error.to_string());
        for outcome in [check, start] {
            let as_expected = match (&outcome, part) {
                (Err(error), Some(part)) => error.contains(part),
                (outcome, part) => outcome.is_ok() && part.is_none(),
            };
            assert!(as_expected, "{name}: {outcome:?}");
        }
    }
    assert!(at("disk/a.log.lock").exists() && !at("moved.log.lock").exists());
}

#[test]
fn a_link_to_the_file_stays_and_all_that_belongs_to_it_is_beside_the_file() {
    let setting = Setting::new(|settings| {
        let path = settings.file.clone().unwrap();
        fs::create_dir(path.with_file_name("disk")).unwrap();
        symlink("disk/real.log", path).unwrap();
        settings.max_size = ByteSize::b(1000);
        settings.compress = false;
        settings.max_backups = 0;
    });
    setting.log(|| (0..100).for_each(|n| info!(n, "line")));
    assert!(setting.log.counts().rotations > 1);
    let names = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(setting.path("")), ["a.log", "disk"]);
    assert_eq!(fs::read_link(setting.path("a.log")).unwrap(), Path::new("disk/real.log"));
    let mut on_disk = names(setting.path("disk"));
    on_disk.retain(|name| name != "real.log.lock");
    let numbers: Vec<_> = on_disk
        .iter()
        .flat_map(|name| lines(&setting.path("disk").join(name)))
        .map(|line| line["n"].as_u64())
        .collect();
    assert_eq!(numbers, (0..100).map(Some).collect::<Vec<_>>());

    // Another place, as an operator chooses it while the program runs.
    fs::create_dir(setting.path("other")).unwrap();
    fs::remove_file(setting.path("a.log")).unwrap();
    symlink("other/new.log", setting.path("a.log")).unwrap();
    setting.log.reopen().unwrap();
    setting.log(|| (0..20).for_each(|n| info!(n, "line")));
    assert_eq!(names(setting.path("")), ["a.log", "disk", "other"]);
    let there = names(setting.path("other"));
    assert!(there.len() > 2 && there.iter().all(|name| name.starts_with("new")), "{there:?}");
    let second = Logging { file: Some(setting.path("other/new.log")), ..Logging::default() };
    assert!(Log::new(&second, Vec::new()).is_err(), "its lock is there, too");
    let first = Logging { file: Some(setting.path("disk/real.log")), ..Logging::default() };
    Log::new(&first, Vec::new()).expect("the place of before is free");
}

#[test]
fn no_field_takes_the_place_of_what_each_line_has() {
    let setting = Setting::new(|_| {});
    setting.log(|| {
        info!(
            timestamp = 1,
            level = "low",
            target = "moon",
            spans = 2,
            trace_id = 3,
            span_id = 4,
            "m"
        );
        info!(only = "fields");
    });
    let found = lines(&setting.path("a.log"));
    assert_eq!((&found[0]["level"], &found[0]["message"]), (&json!("INFO"), &json!("m")));
    let renamed = json!({
        "field_timestamp": 1, "field_level": "low", "field_target": "moon", "field_spans": 2,
        "field_trace_id": 3, "field_span_id": 4,
    });
    assert_eq!(fields(found[0].clone()), renamed);
    assert_eq!(found[1]["message"], "");
    let text = fs::read_to_string(setting.path("a.log")).unwrap();
    for line in text.lines() {
        for key in ["\"timestamp\":", "\"level\":", "\"message\":", "\"target\":"] {
            assert_eq!(line.matches(key).count(), 1, "{key} in {line}");
        }
    }
}

#[test]
fn spans_are_shown_from_the_outermost_with_what_they_learnt() {
    let setting = Setting::new(|_| {});
    setting.log(|| {
        let outer = info_span!("reload", user = "root", changes = tracing::field::Empty);
        let _outer = outer.clone().entered();
        outer.record("changes", 3);
        let _inner = info_span!("check").entered();
        info!("done");
    });
    let found = lines(&setting.path("a.log"));
    let spans = json!([{"name": "reload", "user": "root", "changes": 3}, {"name": "check"}]);
    assert_eq!(found[0]["spans"], spans);
}

#[test]
fn the_filter_changes_at_run_time_and_goes_back_to_the_settings() {
    let mut setting = Setting::new(|settings| settings.level = Level::Warn);
    let all = || {
        debug!("debug");
        info!("info");
        warn!("warn");
        warn!(target: "quinn_proto::x", "a stranger's");
    };
    setting.log(all);
    // tracing asks the current subscriber what it wants now.
    with_default(&setting.dispatch, || setting.log.set_filter("debug")).unwrap();
    setting.log(all);
    assert!(setting.log.set_filter("log=loud").is_err());
    assert_eq!(setting.log.filter(), "debug");
    setting.settings.level = Level::Error;
    with_default(&setting.dispatch, || setting.log.apply(&setting.settings)).unwrap();
    setting.log(all);
    let expected = ["warn", "debug", "info", "warn", "a stranger's"];
    assert_eq!(messages(&setting.path("a.log")), expected);
}

#[test]
fn new_settings_change_format_and_file_and_lose_nothing() {
    let mut setting = Setting::new(|_| {});
    setting.log(|| info!("first"));
    let other = setting.path("folder/other.log");
    setting.settings.file = Some(other.clone());
    setting.settings.format = LogFormat::Plain;
    setting.log.apply(&setting.settings).unwrap();
    setting.log(|| info!(n = 2, "second"));
    assert_eq!(messages(&setting.path("a.log")), ["first"]);
    let text = fs::read_to_string(&other).unwrap();
    assert!(text.ends_with(" INFO log: second n=2\n"), "{text}");

    // What cannot be had changes nothing.
    setting.settings.file = Some(setting.folder.path().to_owned());
    let refused = setting.log.apply(&setting.settings);
    assert!(matches!(refused, Err(LogError::NotAFile { .. })), "{refused:?}");
    setting.log(|| info!("third"));
    assert!(fs::read_to_string(&other).unwrap().ends_with("third\n"));
}

#[test]
fn a_file_that_was_renamed_is_written_until_it_is_opened_anew() {
    let setting = Setting::new(|_| {});
    setting.log(|| info!("one"));
    fs::rename(setting.path("a.log"), setting.path("a.log.1")).unwrap();
    setting.log(|| info!("two"));
    setting.log.reopen().unwrap();
    setting.log(|| info!("three"));
    setting.log.reopen().unwrap();
    setting.log(|| info!("four"));
    assert_eq!(messages(&setting.path("a.log.1")), ["one", "two"]);
    assert_eq!(messages(&setting.path("a.log")), ["three", "four"]);
}

#[test]
fn a_file_that_was_deleted_or_truncated_loses_nothing_further() {
    let setting = Setting::new(|_| {});
    setting.log(|| info!("one"));
    fs::remove_file(setting.path("a.log")).unwrap();
    setting.log(|| info!("two"));
    assert_eq!(messages(&setting.path("a.log")), ["two"]);
    // As logrotate does with copytruncate.
    fs::File::options().write(true).open(setting.path("a.log")).unwrap().set_len(0).unwrap();
    setting.log(|| info!("three"));
    assert_eq!(messages(&setting.path("a.log")), ["three"]);
}

#[test]
fn lines_go_to_standard_error_while_there_is_no_folder() {
    let setting = Setting::new(|settings| {
        let folder = settings.file.as_ref().unwrap().with_file_name("logs");
        settings.file = Some(folder.join("a.log"));
    });
    fs::remove_dir_all(setting.path("logs")).unwrap();
    setting.log(|| info!("this line belongs on standard error"));
    setting.log(|| info!("this one, too"));
    let counts = setting.log.counts();
    assert_eq!((counts.diverted, counts.lines, counts.dropped_output), (2, 2, 0));
    // Not tried again for each line.
    assert_eq!(counts.errors, 1);
    assert!(setting.log.reopen().is_err());

    fs::create_dir(setting.path("logs")).unwrap();
    setting.log.reopen().unwrap();
    setting.log(|| info!("back"));
    assert_eq!(messages(&setting.path("logs/a.log")), ["back"]);
    assert_eq!(setting.log.counts().diverted, 2);
}

#[test]
fn a_file_has_one_writer() {
    let setting = Setting::new(|_| {});
    let second = Log::new(&setting.settings, Vec::new());
    let message = second.err().unwrap().to_string();
    assert!(message.contains("another process logs to"), "{message}");
    let settings = setting.settings.clone();
    let Setting { folder: _folder, log, dispatch, .. } = setting;
    drop((log, dispatch));
    Log::new(&settings, Vec::new()).unwrap();
}

#[test]
fn a_file_is_put_aside_before_it_would_grow_too_large() {
    let setting = Setting::new(|settings| {
        settings.max_size = ByteSize::b(1000);
        settings.compress = false;
        settings.max_backups = 0;
    });
    setting.log(|| (0..100).for_each(|n| info!(n, "line")));
    // A line that is too large by itself has a file of its own.
    setting.log(|| info!(n = 100, "{}", "x".repeat(2000)));
    setting.log(|| info!(n = 101, "line"));
    let mut files: Vec<_> =
        fs::read_dir(setting.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().unwrap() == "log");
    // `a-…` sorts before `a.log`, and by time.
    files.sort();
    assert_eq!(files.len() as u64, setting.log.counts().rotations + 1);
    let sizes: Vec<_> = files.iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert_eq!(sizes.iter().filter(|size| **size > 1000).count(), 1, "{sizes:?}");
    let numbers: Vec<_> =
        files.iter().flat_map(|path| lines(path)).map(|line| line["n"].as_u64()).collect();
    assert_eq!(numbers, (0..102).map(Some).collect::<Vec<_>>());
}

#[test]
fn a_burst_of_one_kind_is_cut_where_it_is_logged() {
    let setting = Setting::new(|_| {});
    let before = setting.log.counts().suppressed;
    setting.log(|| {
        for n in 0..100 {
            wzp_telemetry::limited!(LOG, WARN, per_minute(5), n, "refused");
            // What is not logged anyway is not counted.
            wzp_telemetry::limited!(LOG, DEBUG, per_minute(5), n, "refused");
        }
    });
    let found = lines(&setting.path("a.log"));
    assert_eq!(found.len(), 5);
    assert_eq!(fields(found[4].clone()), json!({"n": 4}));
    assert_eq!(setting.log.counts().suppressed - before, 95);
}
