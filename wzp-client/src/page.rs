//! Compares docs/client.md with the program.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use wzp_media::source::{Damage, What};
use wzp_proto::control::{Notice, SenderFeedback};

use crate::exit::Exit;
use crate::notices::Notices;
use crate::summary::{End, Feedback, Interruption, SourceDamage, Summary, Talker};

const PAGE: &str = include_str!("../../docs/client.md");

fn part(name: &str) -> &str {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("\n<!-- /{name} -->"));
    let (_, rest) = PAGE.split_once(&begin).unwrap();
    rest.split_once(&end).unwrap().0.trim()
}

/// Every key in a value, with those it is in: `talkers[].name`.
fn keys(value: &Value, within: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let dot = if within.is_empty() { "" } else { "." };
                let list = if value.is_array() { "[]" } else { "" };
                let path = format!("{within}{dot}{key}{list}");
                keys(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, within, found)),
        _ => {}
    }
}

/// One with something of everything.
fn summary() -> Summary {
    let cut_off = Damage { at: Duration::ZERO, what: What::CutOff { missing: None } };
    let mut notices = Notices::default();
    notices.take(&Notice::default());
    Summary {
        room: String::new(),
        relay: String::new(),
        sender_id: 1,
        session_id: String::new(),
        seconds: 1.0,
        frames_sent: 0,
        frames_received: 0,
        talkers: vec![Talker {
            sender_id: 1,
            name: String::new(),
            received: 0,
            expected: 0,
            lost: 0,
            late: 0,
            recovered: 0,
            concealed: 0,
            underruns: 0,
            overruns: 0,
            jitter_ms: 0.0,
        }],
        rtt_ms: 1.0,
        feedback: Some(Feedback::from(&SenderFeedback::default())),
        notices,
        source_damages: vec![SourceDamage::from(&cut_off)],
        profile: None,
        interruptions: vec![Interruption {
            relay: String::new(),
            at_seconds: 0.0,
            seconds: 0.0,
            unacknowledged_seconds: 0.0,
            reason: String::new(),
        }],
        unacknowledged_seconds: 0.0,
        held_up_ms: 0.0,
        end: End::Sent,
        exit_code: 0,
    }
}

#[test]
fn the_page_has_every_key_of_the_summary_and_no_other() {
    let summary = summary();
    let mut told = BTreeSet::new();
    keys(&serde_json::to_value(&summary).unwrap(), "", &mut told);
    let rows = part("keys").lines().filter_map(|row| row.strip_prefix("| `"));
    let page: BTreeSet<_> = rows
        .flat_map(|row| row.split(" | ").next().unwrap().split(", "))
        .map(|key| key.trim_matches('`').to_owned())
        .collect();
    assert_eq!(page, told);
}

#[test]
fn the_page_has_the_exit_codes_of_help() {
    let rows: Vec<_> = Exit::HELP
        .lines()
        .skip(1)
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| format!("| {code} | {meaning} |"))
        .collect();
    let table = format!("| code | meaning |\n|---|---|\n{}", rows.join("\n"));
    assert!(part("exits") == table, "docs/client.md should have\n\n{table}\n");
}
