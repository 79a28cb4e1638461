//! What keeps a relay waiting, and the operators who must not wait with it.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use wzp_testbed::loopback::{Loopback, launch};
use wzp_testbed::relay::{Relay, temporary_state};
use wzp_testbed::skip;

use crate::{done, wait};

/// Files that a relay can have open.
const DESCRIPTORS: u32 = 120;

#[test]
fn a_process_that_holds_the_admin_socket_does_not_keep_ctl_out() {
    let folder = temporary_state().unwrap();
    let launch = launch(folder.path(), &[]);
    let plain = launch.command();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"")]);
    command.arg(plain.get_program()).args(plain.get_args());
    let relay = Relay::from_command(command, None).unwrap();
    let socket = launch.state_dir.join("admin.sock");
    let held: Vec<_> =
        (0..2 * DESCRIPTORS).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    // All of them were taken in, and most had to make way.
    wait("the others to make way", || {
        let share = [("reason", "share")];
        let aborted = relay.scrape().unwrap().sum("wzp_http_aborted_connections_total", &share);
        aborted.unwrap() >= f64::from(2 * DESCRIPTORS - 8)
    });
    assert!(done(&launch.state_dir, &["status"]).contains("healthy"));
    drop(held);
    relay.stop().unwrap();
}

/// As with a network file system whose server is away: whoever opens the file waits.
#[test]
fn files_that_do_not_answer_hold_up_neither_health_nor_the_end() {
    if !skip::have_namespaces("files_that_do_not_answer_hold_up_neither_health_nor_the_end") {
        return;
    }
    let folder = temporary_state().unwrap();
    let config = folder.path().join("relay.toml");
    std::fs::write(&config, "").unwrap();
    let loopback = Loopback::new(&["--config", config.to_str().unwrap()]);
    let relay = loopback.relay();

    let guard = Fanotify::init(
        InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC,
        EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC,
    );
    let guard = guard.unwrap();
    let opened = MaskFlags::FAN_OPEN_PERM;
    let here = File::open(folder.path()).unwrap();
    guard.mark(MarkFlags::FAN_MARK_ADD, opened, &here, Some("relay.toml")).unwrap();
    relay.hang_up().unwrap();
    // It waits for leave to open the file, and does not get it.
    let _opened = guard.read_events().unwrap();
    // Signals that come together are one.
    wait("a third to be refused", || {
        relay.hang_up().unwrap();
        relay.log().contains("another one waits for it")
    });
    for page in ["/health", "/ready", "/metrics"] {
        assert_eq!(relay.get(page).unwrap().status, 200, "{page}");
    }
    assert!(done(&loopback.state_dir(), &["status"]).contains("healthy"));
    relay.terminate().unwrap();
    loopback.wait();
}
