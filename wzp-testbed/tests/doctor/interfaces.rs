//! Interfaces: what each gets, and which it is.

use wzp_testbed::netns::{Namespace, cable};
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::skip;

use crate::place::Place;

/// Two hosts and a cable, `eth0` at both ends.
fn pair() -> [Namespace; 2] {
    let ends = ["host", "peer"].map(|label| Namespace::new(label).unwrap());
    cable(ends.each_ref(), "eth0", 1).unwrap();
    ends
}

fn ip(host: &Namespace, command: &str) {
    host.ip(&command.split(' ').collect::<Vec<_>>()).unwrap();
}

#[test]
fn each_interface_gets_the_hook_that_is_told() {
    if !skip::have_namespaces("each_interface_gets_the_hook_that_is_told") {
        return;
    }
    let [host, _peer] = pair();
    // A bridge's driver has no XDP.
    ip(&host, "link add br0 type bridge");
    ip(&host, "link set br0 up");
    let place = Place::new();
    let settings = "ebpf.interfaces = ['eth0', 'br0', 'nosuch0']";
    let told = place.look_from(host.command("env"), settings);
    let lines = told.lines("interface");
    let [eth0, br0, nosuch0] = lines[..] else { panic!("{lines:?}") };
    assert_eq!((eth0.0, br0.0, nosuch0.0), ("ok", "ok", "error"), "{lines:?}");
    assert!(nosuch0.1.contains("nosuch0"), "{nosuch0:?}");
    // A relay on them gets just these.
    let launch = Launch {
        arguments: ["--interface", "eth0", "--interface", "br0"].map(Into::into).into(),
        ..Launch::on(&host, "127.0.0.1:0".parse().unwrap(), place.folder.path())
    };
    let relay = Relay::start(&launch).unwrap();
    let hooks = |text: &str| {
        ["xdp-driver", "tcx-ingress"].into_iter().find(|hook| text.contains(hook)).unwrap()
    };
    for (interface, (_, text, _)) in [("eth0", eth0), ("br0", br0)] {
        let attached = relay
            .log()
            .lines()
            .find(|line| line.contains("the kernel counts") && line.contains(interface))
            .map(str::to_owned)
            .unwrap_or_else(|| panic!("{interface}: {}", relay.log()));
        assert_eq!(hooks(text), hooks(&attached), "told {text}; got {attached}");
    }
    // Beside the relay, its ports are no error, and what it has attached is its own.
    let both =
        format!("relay.listen = '{}'\nebpf.interfaces = ['eth0@if2', 'br0']", relay.listen());
    let beside = place.look_from(host.command("env"), &both);
    beside.assert("clients_port", "ok", &["by the relay that runs"]);
    assert_eq!(beside.code, 0, "{}", beside.text);
    for ((_, before, _), (status, text, _)) in lines.iter().zip(beside.lines("interface")) {
        assert_eq!((status, hooks(text)), ("ok", hooks(before)), "{text}");
        assert!(text.contains("of the relay that runs") && !text.contains("busy"), "{text}");
    }
    // Another relay would find it taken.
    let other = Place::new().look_from(host.command("env"), "ebpf.interfaces = ['eth0']");
    other.assert("interface", "ok", &["tcx-ingress", "busy"]);
}

#[test]
fn nothing_is_promised_that_the_kernel_refuses() {
    let name = "nothing_is_promised_that_the_kernel_refuses";
    if !skip::have_namespaces(name)
        || !skip::have_program(name, "setpriv")
        || !skip::have_program(name, "unshare")
    {
        return;
    }
    let [host, _peer] = pair();
    let words = |words: &str| {
        let mut words = words.split(' ');
        let mut command = host.command(words.next().unwrap());
        command.args(words);
        command
    };
    let place = Place::new();
    let cases = [
        "setpriv --bounding-set=-net_admin --inh-caps=-net_admin",
        "setpriv --bounding-set=-bpf,-sys_admin --inh-caps=-bpf,-sys_admin",
        // All capabilities, and none that counts.
        "unshare --user --map-root-user",
    ];
    for case in cases {
        for (mode, status) in [("auto", "warning"), ("require", "error")] {
            let settings = format!("ebpf.interfaces = ['eth0']\nebpf.mode = '{mode}'");
            let told = place.look_from(words(case), &settings);
            for check in ["capabilities", "counting", "interface"] {
                told.assert(check, status, &[]);
            }
            told.assert("interface", status, &["eth0", "would get", "gets nothing"]);
        }
        let told = place.look_from(words(case), "relay.listen = '0.0.0.0:0'");
        told.assert("interface", "ok", &["eth0", "is not named", "would get nothing"]);
        assert!(!told.lines("capabilities")[0].1.ends_with("are there"), "{}", told.text);
    }
}

#[test]
fn the_interface_is_that_of_the_address() {
    if !skip::have_namespaces("the_interface_is_that_of_the_address") {
        return;
    }
    let [host, _peer] = pair();
    ip(&host, "address add 10.0.0.1/24 dev eth0 label eth0:1");
    let place = Place::new();
    for listen in ["10.0.0.1:0", "[::ffff:10.0.0.1]:0", "[::ffff:10.78.1.1]:0", "0.0.0.0:0"] {
        let told = place.look_from(host.command("env"), &format!("relay.listen = '{listen}'"));
        told.assert("interface", "ok", &["eth0 is not named"]);
        // And so says the relay when it starts.
        let launch = Launch::on(&host, listen.parse().unwrap(), place.folder.path());
        let relay = Relay::start(&launch).unwrap();
        let hint = relay.logged("the relay counts by itself").unwrap();
        assert!(hint.trim_end().ends_with("--interface eth0"), "{hint}");
        relay.stop().unwrap();
    }
}

#[test]
fn a_host_without_ipv4_is_as_good_as_any() {
    if !skip::have_namespaces("a_host_without_ipv4_is_as_good_as_any") {
        return;
    }
    let [host, _peer] = pair();
    ip(&host, "address flush dev eth0");
    ip(&host, "address add fd78::1/64 dev eth0 nodad");
    ip(&host, "address delete 127.0.0.1/8 dev lo");
    let place = Place::new();
    let settings = "relay.listen = '[::]:0'\nmetrics.listen_addr = '[::1]:0'";
    let told = place.look_from(host.command("env"), settings);
    for check in ["offloads", "steering", "buffers", "clients_port"] {
        told.assert(check, "ok", &[]);
    }
    assert_eq!(told.code, 0, "{}", told.text);
    let launch = |listen: &str, folder: &tempfile::TempDir| {
        let listen = listen.parse().unwrap();
        let metrics = ["--config".into(), place.folder.path().join("relay.toml").into()];
        let launch =
            Launch { arguments: metrics.into(), ..Launch::on(&host, listen, folder.path()) };
        Relay::start(&launch).unwrap()
    };
    let folder = temporary_state().unwrap();
    let relay = launch("[::]:0", &folder);
    let port = relay.listen().port();
    assert!(relay.client_command().ends_with(&format!(" [::1]:{port}")), "{relay:?}");
    drop(relay);
    // Not even a loopback: whatever it listens on will do.
    ip(&host, "address delete ::1/128 dev lo");
    let settings = "relay.listen = '[fd78::1]:0'\nmetrics.listen_addr = '[fd78::1]:0'";
    let told = place.look_from(host.command("env"), settings);
    for check in ["offloads", "steering", "buffers", "clients_port"] {
        told.assert(check, "ok", &[]);
    }
    let relay = launch("[::]:0", &folder);
    let port = relay.listen().port();
    assert!(relay.client_command().ends_with(&format!(" [fd78::1]:{port}")), "{relay:?}");
}
