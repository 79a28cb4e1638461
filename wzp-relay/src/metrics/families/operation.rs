//! How the relay's own accounts are kept: log, audit log, traces, configuration.

use super::{Family, counter, gauge, single};

pub(super) const FAMILIES: &[Family] = &[
    counter("wzp_relay_log_lines_total", "Log lines written, to whatever place", |scrape| {
        single((scrape.sources.log)().lines as f64)
    }).from("log writer"),
    counter(
        "wzp_relay_log_lines_dropped_total",
        "Log lines dropped because the file or standard error did not take them in time",
        |scrape| {
            let log = (scrape.sources.log)();
            single((log.dropped_queue + log.dropped_output) as f64)
        },
    ).from("log writer"),
    counter(
        "wzp_relay_log_lines_suppressed_total",
        "Log lines of a kind that strangers can cause, left out because there were too many",
        |scrape| single((scrape.sources.log)().suppressed as f64),
    ).from("log"),
    counter(
        "wzp_relay_log_lines_diverted_total",
        "Log lines that went to standard error because logging.file could not be written",
        |scrape| single((scrape.sources.log)().diverted as f64),
    ).from("log writer"),
    counter("wzp_relay_log_rotations_total", "Times the log file was put aside", |scrape| {
        single((scrape.sources.log)().rotations as f64)
    }).from("log writer"),
    counter(
        "wzp_relay_log_errors_total",
        "Times the log file or one put aside could not be written, compressed or deleted",
        |scrape| single((scrape.sources.log)().errors as f64),
    ).from("log writer"),
    counter("wzp_relay_audit_records_total", "Records of the audit log on the disk", |scrape| {
        single(scrape.sources.audit.counts().records as f64)
    }).from("audit log"),
    counter(
        "wzp_relay_audit_records_lost_total",
        "Records that are not in the audit log, which tells how many by itself",
        |scrape| {
            let audit = scrape.sources.audit.counts();
            let series = |reason: &str, count: u64| (vec![reason.to_owned()], count as f64);
            vec![series("disk", audit.lost), series("limit", audit.left_out)]
        },
    ).from("audit log").note("`disk` (too many waited for it) or `limit` (failures above `audit.auth_failures_per_minute`)")
    .by(&["reason"]),
    counter(
        "wzp_relay_audit_errors_total",
        "Times the disk did not take records of the audit log",
        |scrape| single(scrape.sources.audit.counts().errors as f64),
    ).from("audit log"),
    counter(
        "wzp_relay_events_lost_total",
        "Events that a follower of the admin socket did not read in time; it is told how many",
        |scrape| single(scrape.sources.followers.lost() as f64),
    ).from("events").note("`ctl events` is such a follower, and `admin.follower_events` may wait for each"),
    counter(
        "wzp_relay_events_refused_total",
        "Followers of the admin socket that were refused because there were as many as admin.followers already",
        |scrape| single(scrape.sources.followers.refused() as f64),
    ).from("events"),
    counter(
        "wzp_relay_trace_spans_total",
        "Spans of traces, by what became of them",
        |scrape| {
            let traces = (scrape.sources.traces)();
            let series = |result: &str, count: u64| (vec![result.to_owned()], count as f64);
            vec![
                series("exported", traces.exported),
                series("failed", traces.failed),
                series("dropped", traces.dropped),
            ]
        },
    ).from("traces").note("`exported`, `failed` (not taken by the receiver) or `dropped` (too many waited)")
    .by(&["result"]),
    counter(
        "wzp_relay_panics_total",
        "Panics in any thread, by the part of the relay that it belongs to",
        |scrape| {
            let counts = scrape.sources.panics.counts();
            counts.map(|(part, count)| (vec![part.to_owned()], count as f64)).collect()
        },
    ).from("panic hook").note("`shard`, `accounts` (of the kernel's counts), `audit`, `log`, or `control` (all others). The log has a line about each, at most 60 a minute")
    .by(&["part"]),
    counter(
        "wzp_relay_config_reloads_total",
        "Reloads of the configuration, by result",
        |scrape| {
            let (ok, fail) = scrape.sources.reloads.counts();
            vec![(vec!["ok".to_owned()], ok as f64), (vec!["fail".to_owned()], fail as f64)]
        },
    ).from("control plane").note("`ok` or `fail`")
    .by(&["result"]),
    gauge(
        "wzp_relay_config_last_reload_success_timestamp_seconds",
        "When the configuration was last reloaded with success, in seconds since 1970; absent until then",
        |scrape| {
            let at = scrape.sources.reloads.last_success();
            at.map_or_else(Vec::new, |at| single(at as f64))
        },
    ).from("control plane"),
    gauge(
        "wzp_relay_config_keys_waiting_for_restart",
        "Keys of the configuration that were changed and count only after a restart",
        |scrape| single(scrape.sources.reloads.waiting_keys() as f64),
    ).from("control plane"),
];
