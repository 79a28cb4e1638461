//! The commands that do by hand what the demonstration did. Each can be copied
//! as it is.

use wzp_testbed::netns::Namespace;
use wzp_testbed::relay::Relay;

use super::counts::{Counter, shown};
use super::{Demo, FORWARDED, ROOM, TONE};

/// Two clients that join the running relay, and ways to look at it meanwhile.
pub(super) fn print_for_this_relay(demo: &Demo<'_>, relay: &Relay<'_>, counter: Counter) {
    let inside = demo.place.clients();
    let joined = |role: &str| {
        let client = shown(&demo.client);
        let (pin, address) = (relay.fingerprint(), relay.listen());
        at(inside, &format!("{client} --pin {pin} --room {ROOM} {role} {address}"))
    };
    let voice = match demo.said().exists() {
        true => format!("--send-file {}", shown(&demo.said())),
        false => format!("--send-tone {}", TONE.as_secs()),
    };
    let root = if inside.is_some() { ", as root" } else { "" };
    println!(
        "\nThe same by hand, each in a terminal of its own{root}; the first ends with Ctrl-C:\n"
    );
    println!("  {}", joined(&format!("--record {}", shown(&demo.heard()))));
    println!("  {}", joined(&format!("{voice} --wait-for 1")));
    println!("\nMeanwhile, from the side:\n");
    let metrics = format!("http://{}/metrics", relay.metrics_address());
    println!("  {}", at(demo.place.relay(), &format!("curl -s {metrics} | grep ^{FORWARDED}")));
    if counter == Counter::Kernel {
        println!("  {} flows --state-dir {}", shown(&demo.relay), shown(&demo.state()));
    }
}

/// A relay without this program around it.
pub(super) fn print_for_another_relay(demo: &Demo<'_>) {
    println!(
        "\nA relay of your own, on the standard ports; it prints the command for its clients, \
         whose program is {}:\n",
        shown(&demo.client)
    );
    // A state directory has one relay at a time.
    println!(
        "  {} --listen 0.0.0.0:4433 --metrics-port 9090 --state-dir {}",
        shown(&demo.relay),
        shown(&demo.folder.join("own-state"))
    );
}

/// The command line in that namespace.
fn at(namespace: Option<&Namespace>, line: &str) -> String {
    match namespace {
        Some(namespace) => format!("ip netns exec {} {line}", namespace.name()),
        None => line.to_owned(),
    }
}
