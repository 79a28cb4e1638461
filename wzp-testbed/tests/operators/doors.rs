//! What a stranger is called, at each door through which it leaves the relay and the
//! client.

use std::process::Command;

use serde_json::Value;
use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::relay::temporary_state;
use wzp_untrusted::text::is_plain;

use crate::{LIMIT, done, wait};

/// A terminal that obeyed it would be cleared, and show the rest from right to left.
const NAME: &str = "eve\u{1b}[2J\r\u{9b}1m\u{202e}\u{2028}\u{200b}";
const SHOWN: &str = r"eve\u{1b}[2J\u{d}\u{9b}1m\u{202e}\u{2028}\u{200b}";

/// Lines that show all that they are.
fn visible(door: &str, text: &str) {
    for line in text.lines() {
        assert!(is_plain(line), "{door}: {line:?}");
    }
}

#[test]
fn a_name_is_shown_at_every_door_and_obeyed_at_none() {
    let folder = temporary_state().unwrap();
    let config = folder.path().join("relay.toml");
    std::fs::write(&config, "[logging]\nformat = 'json'\n[audit]\nenabled = true\n").unwrap();
    let loopback = Loopback::new(&["--config", config.to_str().unwrap()]);
    let state = loopback.state_dir();
    let ctl = |arguments: &[&str]| done(&state, arguments);

    let eve = loopback.client(NAME, NAME);
    let eve = Client::start(&eve, &["--send-tone", "600"]).unwrap();
    let anna = loopback.client(NAME, "anna");
    // As people use it.
    let mut command = Command::new(&anna.program);
    command.args(["--pin", &anna.pin, "--room", NAME, "--send-tone", "1", "--wait-for", "1"]);
    let heard = command.arg(anna.relay.to_string()).output().unwrap();
    assert!(heard.status.success(), "{heard:?}");
    for (door, bytes) in [("stdout", heard.stdout), ("stderr", heard.stderr)] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(SHOWN), "{text}");
        visible(door, &text);
    }

    for list in ["sessions", "rooms"] {
        let text = ctl(&[list]);
        assert!(text.contains(r"eve\u{1b}[2J"), "{text}");
        visible(list, &text);
        let json = ctl(&[list, "--json"]);
        visible(list, &json);
        let rows: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["room"], NAME);
    }
    for form in ["prometheus", "openmetrics", "json"] {
        let page = loopback.relay().get(&format!("/metrics?format={form}")).unwrap().body;
        // The formats escape the backslash once more.
        assert!(page.contains(&SHOWN.replace('\\', r"\\")), "{form}: {page}");
        visible(form, &page);
    }
    let log = || loopback.relay().log();
    wait("the log", || log().contains(r"eve\u001b[2J\r\u009b1m\u202e\u2028\u200b"));
    visible("log", &log());
    let audit = || std::fs::read_to_string(state.join("audit.log")).unwrap();
    let record = r#""room":"eve\u001b[2J\r\u009b1m\u202e\u2028\u200b""#;
    wait("the audit log", || audit().contains(record));
    visible("audit log", &audit());
    assert_eq!(eve.leave(LIMIT).unwrap().talkers.len(), 1);
    loopback.stop();
}
