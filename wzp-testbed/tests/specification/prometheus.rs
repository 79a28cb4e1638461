//! A real Prometheus beside the relay, for a minute under load.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use wzp_testbed::process::Process;
use wzp_testbed::{http, skip};

use crate::LIMIT;
use crate::names;
use crate::scene::Scene;

const TEST: &str = "a_real_prometheus_gets_all_of_it_for_a_minute";

/// How long it scrapes.
const MINUTE: Duration = Duration::from_secs(60);

struct Prometheus {
    process: Process,
    address: SocketAddr,
}

impl Prometheus {
    fn start(folder: &Path, target: SocketAddr) -> Self {
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n\
             scrape_configs:\n  - job_name: wraith\n    static_configs:\n      - targets: ['{target}']\n"
        );
        let path = folder.join("prometheus.yml");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"]);
        let process = Process::start("prometheus", command).unwrap();
        let deadline = Instant::now() + LIMIT;
        let address = loop {
            let log = process.stderr();
            let line = log.lines().find(|line| line.contains("msg=\"Listening on\""));
            if let Some((_, address)) = line.and_then(|line| line.split_once("address=")) {
                break address.split_whitespace().next().unwrap().parse().unwrap();
            }
            assert!(Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(50));
        };
        Self { process, address }
    }

    fn api(&self, path: &str) -> Value {
        let response = http::get(self.address, path).unwrap();
        let answer: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The result of a query as series with their values.
    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.api(&format!("/api/v1/query?query={escaped}"));
        let series = data["result"].as_array().unwrap().iter();
        series
            .map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap()))
            .collect()
    }
}

#[test]
fn a_real_prometheus_gets_all_of_it_for_a_minute() {
    if !skip::have_program(TEST, "prometheus") {
        return;
    }
    let scene = Scene::new();
    let prometheus = Prometheus::start(scene.folder(), scene.relay().metrics_address());
    let start = Instant::now();
    while start.elapsed() < MINUTE {
        // Sessions come and go, rooms end, a member changes its port, the
        // configuration is read again.
        scene.disturb();
    }
    let range = format!("{}s", MINUTE.as_secs() + 30);

    let up = prometheus.query(&format!("min_over_time(up[{range}])"));
    assert_eq!(up.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [1.0], "a scrape failed");
    let scrapes = prometheus.query(&format!("count_over_time(up[{range}])"))[0].1;
    assert!(scrapes >= 50.0, "{scrapes}");

    for family in names::relay().into_iter().chain(names::guide()) {
        let name = match family.kind {
            Some("histogram") => format!("{}_bucket", family.name),
            _ => family.name,
        };
        let samples = prometheus.query(&format!("sum(count_over_time({name}[{range}]))"));
        assert!(samples.first().is_some_and(|(_, count)| *count >= 3.0), "{name}: {samples:?}");
        if !name.ends_with("_total") && !name.ends_with("_bucket") {
            continue;
        }
        let moved_back = prometheus.query(&format!("resets({name}[{range}]) > 0"));
        assert!(moved_back.is_empty(), "{name}: {moved_back:?}");
    }
    // What the load must have moved.
    for name in [
        "wzp_relay_packets_forwarded_total",
        "wzp_relay_bytes_forwarded_total",
        "wzp_relay_auth_attempts_total",
        "wzp_relay_handshake_duration_seconds_count",
        "wraith_network_bytes_sent_total",
        "wraith_network_packets_received_total",
        "wraith_connections_total",
        "wraith_connection_duration_seconds_count",
        "wraith_handshake_duration_seconds_count",
    ] {
        let grown = prometheus.query(&format!("sum(increase({name}[{range}])) > 0"));
        assert_eq!(grown.len(), 1, "{name} did not grow");
    }
    // The guide's own expressions.
    for (expression, least, most) in [
        (
            "rate(wraith_connections_failed_total[1m]) / rate(wraith_connections_total[1m])",
            0.0,
            1.0,
        ),
        ("histogram_quantile(0.95, rate(wraith_handshake_duration_seconds_bucket[1m]))", 0.0, 10.0),
        ("wraith_memory_usage_bytes / 1e9", 0.001, 8.0),
        ("wraith_cpu_usage_percent", 0.0, 6400.0),
        ("up{job=\"wraith\"}", 1.0, 1.0),
    ] {
        let result = prometheus.query(expression);
        let [(_, value)] = result[..] else { panic!("{expression}: {result:?}") };
        assert!((least..=most).contains(&value), "{expression}: {value}");
    }
    let name = "wzp_relay_handshake_duration_seconds_bucket";
    let exemplars =
        prometheus.api(&format!("/api/v1/query_exemplars?query={name}&start=0&end=9999999999"));
    let trace = &exemplars[0]["exemplars"][0]["labels"]["trace_id"];
    assert_eq!(trace.as_str().map(str::len), Some(32), "{exemplars}");
    drop(prometheus.process);
    scene.end();
}
