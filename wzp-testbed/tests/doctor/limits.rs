//! What the system has too little of: socket buffers, descriptors, places in the table of
//! connections.

use std::fs;
use std::process::Command;

use wzp_testbed::netns::{Namespace, cable};
use wzp_testbed::relay::{Launch, Relay};
use wzp_testbed::{binaries, skip};

use crate::place::Place;

/// A process of nobody's.
fn powerless() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    command
}

#[test]
fn buffers_are_looked_at_whether_or_not_the_address_can_be_had() {
    let name = "buffers_are_looked_at_whether_or_not_the_address_can_be_had";
    if !skip::have_namespaces(name) || !skip::have_program(name, "setpriv") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.state()).unwrap();
    std::os::unix::fs::chown(place.state(), Some(65534), Some(65534)).unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let small = ["bytes instead of", "sysctl -w net.core.rmem_max=200000000"];
    for listen in ["192.0.2.1:0".to_owned(), taken.local_addr().unwrap().to_string()] {
        let settings = format!("relay.listen = '{listen}'\nrelay.receive_buffer_bytes = 200000000");
        place.look_from(powerless(), &settings).assert("buffers", "warning", &small);
        // With the capability they are as large as wanted.
        let told = place.look(&settings);
        told.assert("buffers", "ok", &["get 200000000 bytes"]);
    }
    // What is enough is not touched.
    let most = fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap_or_default();
    let most = most.trim().parse().unwrap_or(0);
    let told = place.look_from(powerless(), "relay.receive_buffer_bytes = 200000000");
    let names_it = told.command("buffers").contains("wmem_max");
    assert_eq!(names_it, most < 4 << 20, "{most} {}", told.command("buffers"));
}

#[test]
fn few_descriptors_are_an_error_where_a_relay_does_not_start() {
    let place = Place::new();
    let few = |allowed: u64| {
        let mut command = Command::new("bash");
        // What the test itself has inherited does not count.
        let script = format!(
            "for fd in /proc/$$/fd/*; do fd=${{fd##*/}}; [ $fd -gt 2 ] && eval \"exec $fd<&-\"; done; \
             ulimit -n {allowed}; exec \"$@\""
        );
        command.args(["-c", &script, "-"]);
        command
    };
    let start = |allowed: u64| {
        let launch = Launch {
            program: binaries::relay(),
            namespace: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            state_dir: place.state(),
            arguments: Vec::new(),
        };
        let told = launch.command();
        let mut command = few(allowed);
        command.arg(told.get_program()).args(told.get_args()).env("WZP_RELAY__SHARDS", "2");
        Relay::from_command(command, None).map(Relay::stop)
    };
    for allowed in [20, 25, 30, 32, 33, 34, 36, 40, 100] {
        let told = place.look_from(few(allowed), "");
        let [(status, text, command)] = told.lines("open_files")[..] else {
            panic!("{}", told.text)
        };
        assert!(command.starts_with("ulimit -n "), "{command}");
        let starts = start(allowed);
        match status {
            "error" => assert!(text.contains("does not start"), "{text}"),
            _ => assert!(starts.is_ok(), "{allowed}: {text}: {starts:?}"),
        }
        match allowed {
            20 | 30 => {
                assert!(status == "error" && starts.is_err(), "{allowed}: {text} {starts:?}")
            }
            36.. => assert_eq!(status, "warning", "{allowed}: {text}"),
            _ => {}
        }
    }
    let enough = "auth.mode = 'webhook'\nauth.webhook.url = 'http://127.0.0.1:9'\n\
                  auth.webhook.max_concurrent = 9000";
    place.look_from(few(1000), enough).assert("open_files", "warning", &["ulimit -n 9"]);
}

#[test]
fn a_full_table_of_connections_is_told_with_what_makes_room() {
    if !skip::have_namespaces("a_full_table_of_connections_is_told_with_what_makes_room") {
        return;
    }
    let ends = ["host", "peer"].map(|label| Namespace::new(label).unwrap());
    let [to, _] = cable(ends.each_ref(), "eth0", 1).unwrap();
    let rules = "table inet filter { chain input { type filter hook input priority 0; policy drop; \
                 ct state established,new accept; }; }";
    assert!(ends[0].command("nft").arg(rules).status().unwrap().success());
    ends[1].run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"hello", (to, 4433)).unwrap();
    });
    let place = Place::new();
    let look = |sessions: u32| {
        let all = "limits.sessions_per_address = 10\nlimits.sessions_per_site = 10\n\
                   limits.sessions_per_network = 10\nrelay.listen = '0.0.0.0:4433'";
        let settings = format!("limits.sessions = {sessions}\n{all}");
        place.look_from(ends[0].command("env"), &settings)
    };
    let told = look(10_000_000);
    told.assert("conntrack", "warning", &["limits.sessions", "are taken"]);
    let command = told.command("conntrack");
    let most = command.strip_prefix("sysctl -w net.netfilter.nf_conntrack_max=").unwrap();
    assert!(most.parse::<u64>().unwrap() > 10_000_000, "{command}");
    // The cause is gone.
    look(10).assert("conntrack", "ok", &["are taken"]);
}
