//! SIGHUP, a hundred times in the middle of a call, with files that are right and
//! files that are not.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wzp_testbed::client::Client;
use wzp_testbed::http;
use wzp_testbed::loopback::{Loopback, launch};
use wzp_testbed::relay::{Relay, temporary_state};

const LIMIT: Duration = Duration::from_secs(60);

const RELOADS: u32 = 100;

/// Reloads that were taken on and refused.
fn reloads(relay: &Relay<'_>) -> [u32; 2] {
    let scrape = relay.scrape().unwrap();
    ["ok", "fail"].map(|result| {
        scrape.sum("wzp_relay_config_reloads_total", &[("result", result)]).unwrap() as u32
    })
}

fn forwarded(relay: &Relay<'_>) -> f64 {
    relay.scrape().unwrap().sum("wzp_relay_media_packets_forwarded_total", &[]).unwrap()
}

fn reload(relay: &Relay<'_>, path: &Path, settings: &str) {
    let before: u32 = reloads(relay).iter().sum();
    let said = forwarded(relay);
    std::fs::write(path, settings).unwrap();
    relay.hang_up().unwrap();
    let deadline = Instant::now() + LIMIT;
    // A frame or more between two of them.
    while reloads(relay).iter().sum::<u32>() == before || forwarded(relay) <= said {
        assert!(Instant::now() < deadline, "{}", relay.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_hundred_reloads_lose_no_frame_and_are_taken_on_whole_or_not_at_all() {
    let folder = temporary_state().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, "").unwrap();
    let loopback = Loopback::new(&["--config", path.to_str().unwrap()]);
    let relay = loopback.relay();
    let listener = Client::start(&loopback.client("room", "listener"), &[]).unwrap();
    let arguments = ["--wait-for", "1", "--send-tone", "600"];
    let talker = Client::start(&loopback.client("room", "talker"), &arguments).unwrap();
    let deadline = Instant::now() + LIMIT;
    while forwarded(relay) == 0.0 {
        assert!(Instant::now() < deadline);
    }

    let missing = folder.path().join("missing.pem");
    for number in 0..RELOADS / 4 {
        reload(relay, &path, &format!("[limits]\nroom_members = {}\n", 50 + number));
        // Each is wrong in its last part, behind one that would be good.
        reload(relay, &path, "[limits]\nroom_members = 2\nsessions = 0\n");
        reload(
            relay,
            &path,
            &format!(
                "[limits]\nroom_members = 2\n[relay]\ncert = '{0}'\nkey = '{0}'\n",
                missing.display()
            ),
        );
        reload(
            relay,
            &path,
            "[limits]\nroom_members = 2\n[auth]\nmode = 'jwt'\njwt.jwks_file = '/missing'\n",
        );
    }
    assert_eq!(reloads(relay), [RELOADS / 4, RELOADS / 4 * 3]);
    // The limit of the wrong files does not hold, nor are tokens asked for.
    let third = Client::start(&loopback.client("room", "third"), &["--duration", "0"]).unwrap();
    third.finish(LIMIT).unwrap();
    reload(relay, &path, "[limits]\nroom_members = 2\n[relay]\nshards = 3\n");
    let third = Client::start(&loopback.client("room", "third"), &["--duration", "0"]).unwrap();
    assert!(third.fail(LIMIT).unwrap().contains("room_full"), "the new limit holds");
    let waiting = "wzp_relay_config_keys_waiting_for_restart";
    assert_eq!(relay.scrape().unwrap().sum(waiting, &[]), Some(1.0), "shards");

    let said = talker.leave(LIMIT).unwrap();
    let heard = listener.leave(LIMIT).unwrap();
    let of_talker = heard.talkers.iter().find(|talker| talker.name == "talker").unwrap();
    assert!(said.frames_sent > 50, "{said:?}");
    // What was on its way when the talker left may be cut off.
    assert_eq!(of_talker.lost, 0, "{of_talker:?}");
    assert!(of_talker.received + 5 >= said.frames_sent, "{said:?} {of_talker:?}");
    loopback.stop();
}

/// As nohup(1) starts it. What else has it read its configuration still does.
#[test]
fn a_hangup_that_is_ignored_from_the_start_stays_ignored() {
    let folder = temporary_state().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, "").unwrap();
    let plain = launch(folder.path(), &["--config", path.to_str().unwrap()]).command();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command.arg(plain.get_program()).args(plain.get_args());
    let relay = Relay::from_command(command, None).unwrap();
    relay.hang_up().unwrap();
    // A reload that a signal asked for takes some milliseconds.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(reloads(&relay), [0, 0], "{}", relay.log());
    let socket = folder.path().join("state/admin.sock");
    assert_eq!(http::ask_admin(&socket, "POST", "/reload").unwrap().status, 200);
    assert_eq!(reloads(&relay), [1, 0]);
    assert!(relay.log().contains("SIGHUP stays ignored"), "{}", relay.log());
    relay.stop().unwrap();
}
