//! The three forms of the same metrics, to the letter.

#![allow(clippy::unwrap_used)] // A test that cannot go on should stop.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use wzp_telemetry::metrics::{
    Description, Family, Format, Histogram, Registry, Scrapes, Source, Traffic, common, single,
};

/// What a label must survive.
const NASTY: &str = "a \"room\" with \\ and\nanother line, {ümläut}, \u{1b}[2J\u{202e}";

/// How it is shown, before the form escapes what it has to.
const SHOWN: &str = r#"a "room" with \ and\nanother line, {ümläut}, \u{1b}[2J\u{202e}"#;

struct Calls {
    setup: Histogram,
}

impl Source for Calls {
    type Scrape<'a> = &'a Calls;

    fn scrape(&self) -> &Calls {
        self
    }
}

const FAMILIES: &[Family<Calls>] = &[
    Family::<Calls>::counter("test_bytes_total", "Bytes, \"quoted\" \\ and\nbroken", |_| {
        vec![(vec![NASTY.into(), "1".into()], 12.0), (vec!["b".into(), "2".into()], 0.5)]
    })
    .by(&["room", "shard"]),
    Family::<Calls>::counter("test_call_packets_total", "Of calls, which begin later", |_| {
        vec![(vec!["a\nb".into()], 3.0), (vec!["unknown".into()], 4.0)]
    })
    .by(&["call"])
    .began(|_, labels| {
        let is_known = labels == ["a\nb"];
        is_known.then(|| UNIX_EPOCH + Duration::from_millis(1_700_000_000_250))
    }),
    Family::<Calls>::counter("test_odd", "A counter without the suffix", |_| single(7.0)),
    Family::<Calls>::gauge("test_open", "A gauge", |_| {
        vec![
            (vec!["most".into()], f64::INFINITY),
            (vec!["none".into()], f64::NAN),
            (vec!["some".into()], -1.5),
        ]
    })
    .by(&["how"]),
    Family::<Calls>::gauge("test_absent", "A family without a series", |_| Vec::new()),
    Family::<Calls>::histogram("test_setup_seconds", "A histogram", |calls| {
        vec![(vec!["a".into()], calls.setup.reading())]
    })
    .by(&["room"]),
];

fn scrapes() -> Scrapes {
    let setup = Histogram::new(&[0.1, 1.0]);
    setup.observe(Duration::from_millis(50));
    setup.observe_with(Duration::from_millis(500), Some([0xab; 16]));
    setup.observe(Duration::from_secs(2));
    let registry = Registry::new();
    registry.register(Calls { setup }, FAMILIES).unwrap();
    Scrapes::new(registry, Handle::current(), Arc::new(Traffic::default())).unwrap()
}

async fn text(format: Format) -> String {
    let body = scrapes().body(format, false).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The lines about the families above.
fn own(text: &str) -> String {
    text.lines().filter(|line| line.contains("test_")).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn prometheus_text() {
    let expected = r#"# HELP test_bytes_total Bytes, "quoted" \\ and\nbroken
# TYPE test_bytes_total counter
test_bytes_total{room="a \"room\" with \\ and\\nanother line, {ümläut}, \\u{1b}[2J\\u{202e}",shard="1"} 12
test_bytes_total{room="b",shard="2"} 0.5
# HELP test_call_packets_total Of calls, which begin later
# TYPE test_call_packets_total counter
test_call_packets_total{call="a\\nb"} 3
test_call_packets_total{call="unknown"} 4
# HELP test_odd A counter without the suffix
# TYPE test_odd counter
test_odd 7
# HELP test_open A gauge
# TYPE test_open gauge
test_open{how="most"} inf
test_open{how="none"} NaN
test_open{how="some"} -1.5
# HELP test_setup_seconds A histogram
# TYPE test_setup_seconds histogram
test_setup_seconds_bucket{room="a",le="0.1"} 1
test_setup_seconds_bucket{room="a",le="1"} 2
test_setup_seconds_bucket{room="a",le="+Inf"} 3
test_setup_seconds_sum{room="a"} 2.55
test_setup_seconds_count{room="a"} 3
"#;
    let text = text(Format::Prometheus).await;
    assert_eq!(own(&text), expected);
    // Names and units are checked on the relay's own families.
    promtool(&text);
}

#[tokio::test]
async fn openmetrics() {
    let expected = r#"# TYPE test_bytes counter
# UNIT test_bytes bytes
# HELP test_bytes Bytes, \"quoted\" \\ and\nbroken
test_bytes_total{room="a \"room\" with \\ and\\nanother line, {ümläut}, \\u{1b}[2J\\u{202e}",shard="1"} 12
test_bytes_created{room="a \"room\" with \\ and\\nanother line, {ümläut}, \\u{1b}[2J\\u{202e}",shard="1"} START
test_bytes_total{room="b",shard="2"} 0.5
test_bytes_created{room="b",shard="2"} START
# TYPE test_call_packets counter
# HELP test_call_packets Of calls, which begin later
test_call_packets_total{call="a\\nb"} 3
test_call_packets_created{call="a\\nb"} 1700000000.250
test_call_packets_total{call="unknown"} 4
test_call_packets_created{call="unknown"} START
# TYPE test_odd unknown
# HELP test_odd A counter without the suffix
test_odd 7
# TYPE test_open gauge
# HELP test_open A gauge
test_open{how="most"} +Inf
test_open{how="none"} NaN
test_open{how="some"} -1.5
# TYPE test_setup_seconds histogram
# UNIT test_setup_seconds seconds
# HELP test_setup_seconds A histogram
test_setup_seconds_bucket{room="a",le="0.1"} 1
test_setup_seconds_bucket{room="a",le="1.0"} 2 # {trace_id="abababababababababababababababab"} 0.5 TIME
test_setup_seconds_bucket{room="a",le="+Inf"} 3
test_setup_seconds_count{room="a"} 3
test_setup_seconds_sum{room="a"} 2.55
test_setup_seconds_created{room="a"} START
"#;
    let began = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let text = text(Format::OpenMetrics).await;
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    let recent = |time: &str| {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        // Written to the millisecond.
        time.parse().is_ok_and(|seconds: f64| (began - 0.001..=now).contains(&seconds))
    };
    let lines = own(&text);
    let lines = lines.lines().map(|line| match line.rsplit_once(' ') {
        Some((before, time)) if before.contains("_created") && recent(time) => {
            format!("{before} START\n")
        }
        Some((before, time)) if before.contains(" # {trace_id") && recent(time) => {
            format!("{before} TIME\n")
        }
        _ => format!("{line}\n"),
    });
    assert_eq!(lines.collect::<String>(), expected);
}

#[tokio::test]
async fn json() {
    let families: Vec<Value> = serde_json::from_str(&text(Format::Json).await).unwrap();
    let family = |name| families.iter().find(|family| family["name"] == name).cloned();
    assert_eq!(
        family("test_bytes_total").unwrap(),
        json!({
            "name": "test_bytes_total",
            "type": "counter",
            "help": "Bytes, \"quoted\" \\ and\nbroken",
            "metrics": [
                { "labels": { "room": SHOWN, "shard": "1" }, "value": 12 },
                { "labels": { "room": "b", "shard": "2" }, "value": 0.5 },
            ],
        })
    );
    assert_eq!(
        family("test_open").unwrap()["metrics"],
        json!([
            { "labels": { "how": "most" }, "value": "+Inf" },
            { "labels": { "how": "none" }, "value": "NaN" },
            { "labels": { "how": "some" }, "value": -1.5 },
        ])
    );
    assert_eq!(
        family("test_setup_seconds").unwrap()["metrics"],
        json!([{
            "labels": { "room": "a" },
            "buckets": [{ "le": 0.1, "count": 1 }, { "le": 1, "count": 2 }],
            "count": 3,
            "sum": 2.55,
        }])
    );
    assert_eq!(family("test_absent"), None);
}

#[tokio::test]
async fn every_program_has_the_common_families() {
    let text = text(Format::Prometheus).await;
    // What is told of a second is not there before it is over.
    let at_once = common().filter(|family| family.name != "wraith_cpu_usage_percent");
    for Description { name, kind, .. } in at_once {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is missing");
    }
    for name in ["process_cpu_seconds_total", "wraith_cpu_usage_percent", "wzp_runtime_tasks"] {
        assert!(common().any(|family| family.name == name), "{name}");
    }
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let registry = Registry::new();
    let calls = || Calls { setup: Histogram::new(&[]) };
    registry.register(calls(), FAMILIES).unwrap();
    assert!(registry.register(calls(), FAMILIES).is_err());
}

/// Whether Prometheus can read it, where it is installed.
fn promtool(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("note: promtool is missing; the text was not checked");
        return;
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(!problems.contains("error while linting"), "{problems}");
}
