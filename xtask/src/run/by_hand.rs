//! The commands that do by hand what the demonstration did. Each can be copied
//! as it is.

use wzp_testbed::netns::Namespace;
use wzp_testbed::relay::Relay;

use super::counts::{Counter, flows, shown};
use super::{Demo, FORWARDED, ROOM, TONE};

/// Two clients that join the running relay, and ways to look at it meanwhile.
#[derive(Debug)]
struct Commands {
    /// Listens until Ctrl-C.
    listen: String,
    /// Speaks to the listener.
    speak: String,
    /// Show what the relay counts.
    looks: Vec<String>,
}

impl Commands {
    fn new(demo: &Demo<'_>, relay: &Relay<'_>, counter: Counter) -> Self {
        let joined = |role: &str| {
            let client = shown(&demo.client);
            let (pin, address) = (relay.fingerprint(), relay.listen());
            let line = format!("{client} --pin {pin} --room {ROOM} {role} {address}");
            at(demo.place.clients(), &line)
        };
        let voice = match demo.said().exists() {
            true => format!("--send-file {}", shown(&demo.said())),
            false => format!("--send-tone {}", TONE.as_secs()),
        };
        let curl = format!("curl -s http://{}/metrics", relay.metrics_address());
        let metrics = at(demo.place.relay(), &format!("{curl} | grep ^{FORWARDED}"));
        let flows = (counter == Counter::Kernel).then(|| flows(demo, ""));
        Self {
            listen: joined(&format!("--record {}", shown(&demo.heard()))),
            speak: joined(&format!("{voice} --wait-for 1")),
            looks: [metrics].into_iter().chain(flows).collect(),
        }
    }
}

/// A relay without this program around it, on the standard ports.
fn another_relay(demo: &Demo<'_>) -> String {
    // A state directory has one relay at a time.
    let state = demo.folder.join("own-state");
    format!(
        "{} --listen 0.0.0.0:4433 --metrics-port 9090 --state-dir {}",
        shown(&demo.relay),
        shown(&state)
    )
}

/// The commands for the relay that runs.
pub(super) fn print_for_this_relay(demo: &Demo<'_>, relay: &Relay<'_>, counter: Counter) {
    let commands = Commands::new(demo, relay, counter);
    let root = if demo.place.clients().is_some() { ", as root" } else { "" };
    println!(
        "\nThe same by hand, each in a terminal of its own{root}; the first ends with Ctrl-C:\n"
    );
    println!("  {}\n  {}", commands.listen, commands.speak);
    println!("\nMeanwhile, from the side:\n");
    commands.looks.iter().for_each(|line| println!("  {line}"));
}

/// The command that starts another one.
pub(super) fn print_for_another_relay(demo: &Demo<'_>) {
    println!(
        "\nA relay of your own, on the standard ports; it prints the command for its clients, \
         whose program is {}:\n\n  {}",
        shown(&demo.client),
        another_relay(demo)
    );
}

/// The command line in that namespace.
fn at(namespace: Option<&Namespace>, line: &str) -> String {
    match namespace {
        Some(namespace) => format!("ip netns exec {} {line}", namespace.name()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustix::process::Signal;
    use wzp_testbed::process::Process;
    use wzp_testbed::relay::{PATIENCE, temporary_state};
    use wzp_testbed::{binaries, skip};

    use super::*;
    use crate::run::place::Place;

    /// What a shell makes of the line.
    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    fn in_background(line: &str) -> Process {
        Process::start("by hand", shell(&format!("exec {line}"))).unwrap()
    }

    /// Ctrl-C, after which it must end well.
    fn interrupt(mut process: Process) {
        process.signal(Signal::INT).unwrap();
        let status = process.wait(PATIENCE).unwrap();
        assert!(status.success(), "{status}: {}", process.stderr());
    }

    #[test]
    fn every_command_does_what_is_said_of_it() {
        let name = "every_command_does_what_is_said_of_it";
        if !skip::have_namespaces(name) || !skip::have_program(name, "curl") {
            return;
        }
        let (place, folder) = (Place::choose(), temporary_state().unwrap());
        let demo = Demo {
            client: binaries::client(),
            relay: binaries::relay(),
            folder: folder.path().to_owned(),
            place: &place,
        };
        let relay = Relay::start(&demo.launch()).unwrap();
        let counter = Counter::of(&relay).unwrap();
        let commands = Commands::new(&demo, &relay, counter);

        let listener = in_background(&commands.listen);
        let speaker = in_background(&commands.speak);
        let deadline = Instant::now() + PATIENCE;
        let count = loop {
            let output = shell(&commands.looks[0]).output().unwrap();
            if output.status.success() {
                break String::from_utf8(output.stdout).unwrap();
            }
            assert!(Instant::now() < deadline, "{output:?}");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(count.contains(&format!("room=\"{ROOM}\"")), "{count}");
        for line in &commands.looks[1..] {
            let look = in_background(line);
            look.next_line(deadline).unwrap().expect("it shows a list until Ctrl-C");
        }
        let list = shell(&flows(&demo, "--once ")).output().unwrap();
        // Where the kernel does not count, it says so.
        assert_eq!(list.status.success(), counter == Counter::Kernel, "{list:?}");
        interrupt(speaker);
        interrupt(listener);
        assert!(demo.heard().exists(), "{}", commands.listen);

        let other = in_background(&at(place.relay(), &another_relay(&demo)));
        let ready = |line: &str| line.starts_with("wzp-client ");
        while let Some(line) = other.next_line(deadline).unwrap() {
            if ready(&line) {
                return;
            }
        }
        panic!("it says nothing to clients: {}", other.stderr());
    }
}
