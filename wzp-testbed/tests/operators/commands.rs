//! `wzp-relay ctl` against a real relay with real clients.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use wzp_testbed::binaries;
use wzp_testbed::client::{Client, Launch};
use wzp_testbed::loopback::{Loopback, launch};
use wzp_testbed::process::Process;
use wzp_testbed::relay::Relay;

use crate::{LIMIT, ctl, done, refused, wait};

struct Place {
    relay: Loopback,
    state: PathBuf,
}

impl Place {
    fn new(arguments: &[&str]) -> Self {
        let relay = Loopback::new(arguments);
        let state = relay.state_dir();
        Self { relay, state }
    }

    fn list(&self, what: &str) -> Value {
        serde_json::from_str(&done(&self.state, &[what, "--json"])).unwrap()
    }

    /// A client that talks until it is told to leave.
    fn talker(&self, name: &str) -> Client {
        Client::start(&self.relay.client("room", name), &["--no-reconnect", "--send-tone", "600"])
            .unwrap()
    }

    fn wait_for_sessions(&self, sessions: usize) {
        let seated = || {
            let list = self.list("sessions");
            list.as_array().unwrap().iter().filter(|row| row["room"] == "room").count()
        };
        wait("the sessions", || seated() == sessions);
    }

    fn is_ready(&self) -> bool {
        self.relay.relay().get("/ready").unwrap().status == 200
    }
}

#[test]
fn a_drain_is_taken_back_and_those_who_are_there_stay() {
    let place = Place::new(&["--drain-timeout", "1h"]);
    let early = place.talker("early");
    place.wait_for_sessions(1);
    done(&place.state, &["drain"]);
    assert!(!place.is_ready());
    let drain = &place.list("status")["drain"];
    assert!(drain["remaining_seconds"].as_f64().unwrap() > 3500.0 && drain["exits"] == false);
    let refused_one = Client::start(&place.relay.client("room", "no"), &["--duration", "1"]);
    refused_one.unwrap().fail(LIMIT).unwrap();

    done(&place.state, &["undrain"]);
    assert!(place.is_ready());
    let late = place.talker("late");
    place.wait_for_sessions(2);
    assert!(refused(&place.state, &["undrain"]).contains("not draining"));
    early.leave(LIMIT).unwrap();
    late.leave(LIMIT).unwrap();
    place.relay.stop();
}

#[test]
fn a_drained_relay_stays_until_it_is_told_otherwise() {
    let place = Place::new(&[]);
    let client = place.talker("anna");
    place.wait_for_sessions(1);
    done(&place.state, &["drain", "--timeout", "0s", "--wait"]);
    client.fail(LIMIT).unwrap();
    assert!(!place.is_ready() && place.list("status")["sessions"] == 0);
    done(&place.state, &["undrain"]);
    let again = place.talker("anna");
    place.wait_for_sessions(1);
    again.leave(LIMIT).unwrap();
    done(&place.state, &["drain", "--exit", "--wait"]);
    place.relay.wait();
}

/// Nobody is there to wait for: the relay ends while it answers.
#[test]
fn an_order_that_ends_the_relay_is_answered() {
    for _ in 0..20 {
        let place = Place::new(&[]);
        done(&place.state, &["drain", "--exit"]);
        place.relay.wait();
    }
}

#[test]
fn a_signal_is_not_taken_back() {
    let place = Place::new(&["--drain-timeout", "1h"]);
    let client = place.talker("anna");
    place.wait_for_sessions(1);
    place.relay.relay().terminate().unwrap();
    wait("the drain", || !place.is_ready());
    for order in [&["undrain"][..], &["drain", "--timeout", "2h"]] {
        assert!(refused(&place.state, order).contains("by a signal"));
    }
    client.leave(LIMIT).unwrap();
    place.relay.wait();
}

#[test]
fn sessions_and_rooms_are_listed_and_a_session_is_kicked_with_a_reason() {
    let place = Place::new(&[]);
    let (loud, quiet) = (place.talker("loud"), place.talker("quiet"));
    place.wait_for_sessions(2);
    let rooms = place.list("rooms");
    assert_eq!((&rooms[0]["room"], &rooms[0]["members"]), (&"room".into(), &2.into()), "{rooms}");
    let session = place.list("sessions")[0]["session_id"].as_str().unwrap().to_owned();
    assert!(done(&place.state, &["sessions"]).contains(&session));
    assert!(done(&place.state, &["rooms"]).starts_with("1 room\nROOM  MEMBERS"));

    done(&place.state, &["kick", &session, "--reason", "too loud"]);
    place.wait_for_sessions(1);
    // Which of the two was first is not known.
    let left = place.list("sessions")[0]["session_id"].as_str().unwrap().to_owned();
    assert_ne!(left, session);
    let kicked = "wzp_relay_connections_closed_total";
    let kicked = place.relay.relay().scrape().unwrap().sum(kicked, &[("reason", "kicked")]);
    assert_eq!(kicked, Some(1.0));
    done(&place.state, &["kick", &left, "--reason", "too quiet"]);
    let errors = [loud, quiet].map(|client| client.fail(LIMIT).unwrap()).concat();
    assert!(errors.contains("too loud") && errors.contains("too quiet"), "{errors}");

    assert!(refused(&place.state, &["kick", "00000000000000aa"]).contains("no session"));
    assert!(refused(&place.state, &["kick", "nonsense"]).contains("16 hexadecimal digits"));
    assert!(refused(&place.state, &["block", "192.0.2.1"]).contains("kernel"));
    place.relay.stop();
}

#[test]
fn rooms_have_counts_also_where_metrics_hide_their_names() {
    let folder = wzp_testbed::relay::temporary_state().unwrap();
    let config = folder.path().join("relay.toml");
    std::fs::write(&config, "metrics.room_label = 'hash'\n").unwrap();
    let place = Place::new(&["--config", config.to_str().unwrap()]);
    let talkers = ["anna", "ben"].map(|name| place.talker(name));
    wait("forwarded packets", || {
        place.list("rooms")[0]["packets"].as_u64().is_some_and(|packets| packets > 0)
    });
    assert_eq!(place.list("rooms")[0]["room"], "room");
    assert!(!place.relay.relay().get("/metrics").unwrap().body.contains("room=\"room\""));
    for client in talkers {
        client.leave(LIMIT).unwrap();
    }
    place.relay.stop();
}

#[test]
fn a_new_certificate_is_for_new_clients_and_a_wrong_one_for_nobody() {
    let place = Place::new(&[]);
    let early = place.talker("early");
    place.wait_for_sessions(1);
    let identity = place.state.join("identity.pem");
    std::fs::write(&identity, "not PEM").unwrap();
    assert!(refused(&place.state, &["reload"]).contains("identity.pem"));
    assert_eq!(place.list("status")["fingerprint"], place.relay.relay().fingerprint());

    std::fs::remove_file(&identity).unwrap();
    let answer = done(&place.state, &["reload"]);
    let pin = answer.trim().strip_prefix("new fingerprint ").unwrap().to_owned();
    assert_ne!(pin, place.relay.relay().fingerprint());
    let late = Launch { pin, ..place.relay.client("room", "late") };
    let late = Client::start(&late, &["--send-tone", "600"]).unwrap();
    place.wait_for_sessions(2);
    let old_pin = Client::start(&place.relay.client("room", "old"), &["--duration", "1"]).unwrap();
    old_pin.fail(LIMIT).unwrap();

    let expiry = "wzp_relay_certificate_expiry_timestamp_seconds";
    assert_eq!(place.relay.relay().scrape().unwrap().sum(expiry, &[]), Some(67_090_118_400.0));
    early.leave(LIMIT).unwrap();
    late.leave(LIMIT).unwrap();
    place.relay.stop();
}

#[test]
fn what_is_logged_can_be_changed() {
    let place = Place::new(&[]);
    assert!(refused(&place.state, &["log-level", "debgu"]).contains("no level"));
    done(&place.state, &["log-level", "off"]);
    done(&place.state, &["drain"]);
    done(&place.state, &["log-level", "info"]);
    done(&place.state, &["undrain"]);
    wait("the log", || place.relay.relay().log().contains("action=\"undrain\""));
    assert!(!place.relay.relay().log().contains("action=\"drain\""));
    place.relay.stop();
}

#[test]
fn the_socket_is_the_owners_and_a_relay_that_is_gone_is_told_apart() {
    let place = Place::new(&[]);
    let mode = place.state.join("admin.sock").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = done(&place.state, &["status"]);
    assert!(status.contains(place.relay.relay().fingerprint()), "{status}");
    let Place { relay, state } = place;
    relay.stop();
    assert_eq!(ctl(&state, &["status"]).status.code(), Some(3));
}

/// The default state directory is that of whichever relay has it.
#[test]
fn orders_go_to_no_other_relay_when_the_configuration_cannot_be_read() {
    let folder = wzp_testbed::relay::temporary_state().unwrap();
    let at = |name: &str| folder.path().join(name);
    let command = || {
        let mut command = Command::new(binaries::relay());
        command.env("STATE_DIRECTORY", at("default"));
        command
    };
    let mut start = command();
    start.args(["--listen", "127.0.0.1:0", "--metrics-port", "0"]);
    let relay = Relay::from_command(start, None).unwrap();
    std::fs::write(at("syntax.toml"), "[relay\n").unwrap();
    std::fs::write(at("key.toml"), "[relay]\nstate_dri = '/somewhere/else'\n").unwrap();
    let other = format!("[relay]\nstate_dir = '{}'\nshard = 2\n", at("other").display());
    std::fs::write(at("other.toml"), other).unwrap();
    for (file, code, told) in [
        ("typo.toml", 1, "No such file"),
        ("syntax.toml", 1, "syntax.toml"),
        ("key.toml", 1, "did you mean relay.state_dir"),
        ("other.toml", 3, "other/admin.sock"),
    ] {
        for by_variable in [false, true] {
            let mut ask = command();
            ask.args(["ctl", "drain", "--exit"]);
            match by_variable {
                true => ask.env("WZP_CONFIG", at(file)),
                false => ask.arg("--config").arg(at(file)),
            };
            let output = ask.output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{file}: {error}");
            assert!(error.contains(told), "{file}: {error}");
            assert!(code != 1 || error.contains("--state-dir"), "{file}: {error}");
        }
    }
    assert_eq!(relay.get("/ready").unwrap().status, 200, "{}", relay.log());

    let mut ask = command();
    ask.args(["ctl", "drain", "--config"]).arg(at("typo.toml"));
    let output = ask.arg("--state-dir").arg(at("default")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(relay.get("/ready").unwrap().status, 503);
    relay.stop().unwrap();
}

/// What a relay says that does not start.
fn refusal(command: Command) -> String {
    let mut process = Process::start("wzp-relay", command).unwrap();
    let status = process.wait(LIMIT).unwrap();
    assert_eq!(status.code(), Some(1), "{}", process.stderr());
    process.stderr()
}

#[test]
fn a_state_directory_may_be_longer_than_a_socket_address() {
    let folder = wzp_testbed::relay::temporary_state().unwrap();
    let place = folder.path().join("d".repeat(120));
    let launch = launch(&place, &[]);
    let relay = Relay::start(&launch).unwrap();
    assert!(done(&launch.state_dir, &["status"]).contains(relay.fingerprint()));
    let told = refusal(launch.command());
    assert!(told.contains("another relay"), "{told}");
    // One that a dead relay left behind is replaced.
    drop(relay);
    assert!(launch.state_dir.join("admin.sock").exists());
    assert_eq!(ctl(&launch.state_dir, &["status"]).status.code(), Some(3));
    let relay = Relay::start(&launch).unwrap();
    done(&launch.state_dir, &["status"]);
    relay.stop().unwrap();
    assert!(!launch.state_dir.join("admin.sock").exists());
}

#[test]
fn what_is_no_socket_is_left_where_it_is() {
    let folder = wzp_testbed::relay::temporary_state().unwrap();
    let launch = launch(folder.path(), &[]);
    std::fs::create_dir(&launch.state_dir).unwrap();
    let precious = launch.state_dir.join("admin.sock");
    std::fs::write(&precious, "notes").unwrap();
    let told = refusal(launch.command());
    assert!(told.contains("no socket"), "{told}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "notes");
}

/// A socket for both families gives IPv4 peers as `::ffff:127.0.0.1`.
#[test]
fn a_peer_of_ipv4_is_written_the_same_everywhere() {
    let folder = wzp_testbed::relay::temporary_state().unwrap();
    let mut launch = launch(folder.path(), &["--shards", "1"]);
    launch.listen = "[::]:0".parse().unwrap();
    let mut command = launch.command();
    command.env("WZP_AUDIT__ENABLED", "true");
    let relay = Relay::from_command(command, None).unwrap();
    let client = Launch {
        program: binaries::client(),
        namespace: None,
        relay: (Ipv4Addr::LOCALHOST, relay.listen().port()).into(),
        pin: relay.fingerprint().to_owned(),
        room: "room".into(),
        name: "anna".into(),
    };
    let client = Client::start(&client, &["--send-tone", "600"]).unwrap();
    let sessions = || done(&launch.state_dir, &["sessions", "--json"]);
    wait("the session", || sessions().contains("\"room\":\"room\""));
    let listed: Value = serde_json::from_str(&sessions()).unwrap();
    let peer = listed[0]["peer"].as_str().unwrap().to_owned();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    client.leave(LIMIT).unwrap();
    let joined = relay.logged("session joined").unwrap();
    assert!(joined.contains("src_ip=127.0.0.1 "), "{joined}");
    let log = relay.log();
    relay.stop().unwrap();
    let audit = std::fs::read_to_string(launch.state_dir.join("audit.log")).unwrap();
    assert!(audit.contains(&format!("\"peer\":\"{peer}\"")), "{audit}");
    for text in [log, audit, listed.to_string()] {
        assert!(!text.contains("ffff:"), "{text}");
    }
}
