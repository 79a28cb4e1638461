//! Panics of threads and tasks: one line each, counted, and the work goes on. One test,
//! because the hook is the process's.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall end.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use wzp_telemetry::log;
use wzp_telemetry::panics::{attempt, supervised, watch};
use wzp_telemetry::settings::{LogFormat, Logging};

#[tokio::test]
async fn a_panic_is_a_line_and_a_count_and_ends_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let settings =
        Logging { file: Some(path.clone()), format: LogFormat::Json, ..Logging::default() };
    let log = log::start(&settings, Vec::new()).unwrap();
    let panics = watch(&["shard", "control"]).unwrap();

    let thread = std::thread::Builder::new().name("shard-1".into());
    let went_on = thread.spawn(|| {
        let done = attempt(|| panic!("a letter \"{}\"\nthat nobody expects", 7));
        (done, attempt(|| ()))
    });
    assert_eq!(went_on.unwrap().join().unwrap(), (false, true));

    let tries = AtomicU32::new(0);
    let result = supervised(|| async {
        assert!(tries.fetch_add(1, Ordering::Relaxed) > 0, "the first time it fails");
        tokio::task::yield_now().await;
        "done"
    });
    assert_eq!(result.await, "done");

    assert_eq!(panics.counts().collect::<Vec<_>>(), [("shard", 1), ("control", 1)]);
    let last = panics.last().unwrap().thread;
    log.flush().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [thread, task] = &lines[..] else { panic!("{text}") };
    for line in [thread, task] {
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"ERROR".into(), &"a thread panicked".into())
        );
        let place = line["place"].as_str().unwrap();
        assert!(place.starts_with("wzp-telemetry/tests/panics.rs:"), "{place}");
    }
    assert_eq!(thread["thread"], "shard-1");
    assert_eq!(thread["panic"], "a letter \"7\"\nthat nobody expects");
    assert_eq!(task["thread"], last.as_str());
    assert_eq!(task["panic"], "the first time it fails");
}
