//! A client that stays in its room, by real relays in real networks: a name with a
//! dead address, a relay that is killed and comes back, one that moves to another
//! address, one that drains, and a disk that is full.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use wzp_testbed::client::{Client, Summary};
use wzp_testbed::netns::{Host, Network};
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::{binaries, measure, skip, speech, tone};

const LIMIT: Duration = Duration::from_secs(90);
const PORT: u16 = 4433;

/// The client on that host, for which these are all the names there are.
fn client(host: &Host, hosts: &Path, relays: &[&str], arguments: &[&str]) -> Command {
    let mut command = host.namespace.command("sh");
    // The mounts of a command in a namespace are its own.
    command.args(["-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts);
    command
        .arg(binaries::client())
        .args(["--json", "--room", "lobby"])
        .args(arguments)
        .args(relays);
    command
}

fn relay_on<'a>(host: &'a Host, folder: &Path) -> Relay<'a> {
    let mut launch = Launch::on(&host.namespace, (host.v4, PORT).into(), folder);
    launch.arguments = ["--drain-timeout", "2s"].map(OsString::from).into();
    Relay::start(&launch).unwrap()
}

/// Records in the room until it is told to leave.
struct Listener {
    client: Client,
    recording: std::path::PathBuf,
}

impl Listener {
    fn start(host: &Host, folder: &Path, hosts: &Path, relays: &[&str], pins: &[&str]) -> Self {
        let recording = folder.join("heard.wav");
        let mut arguments = vec!["--record", recording.to_str().unwrap()];
        pins.iter().for_each(|pin| arguments.extend(["--pin", pin]));
        let command = client(host, hosts, relays, &arguments);
        Self { client: Client::from_command("listener", command).unwrap(), recording }
    }

    /// What it heard: the summary, seconds from the first sound to the last, seconds of the
    /// tone in them.
    fn leave(self) -> (Summary, f64, f64) {
        let summary = self.client.leave(LIMIT).unwrap();
        let samples = speech::read(&self.recording).unwrap();
        let seconds = |samples: usize| samples as f64 / f64::from(speech::RATE);
        let sounding = samples
            .chunks_exact(speech::RATE as usize / 10)
            .filter(|block| tone::level_db(block, 440.0) > -20.0)
            .count();
        (summary, seconds(measure::sounding(&samples).len()), sounding as f64 / 10.0)
    }
}

fn talk(host: &Host, hosts: &Path, relays: &[&str], pins: &[&str], seconds: &str) -> Client {
    let mut arguments = vec!["--send-tone", seconds, "--wait-for", "1", "--linger", "1"];
    pins.iter().for_each(|pin| arguments.extend(["--pin", pin]));
    Client::from_command("speaker", client(host, hosts, relays, &arguments)).unwrap()
}

fn wait_for_members(relay: &Relay<'_>, members: f64) {
    let deadline = Instant::now() + LIMIT;
    while relay.scrape().unwrap().sum("wzp_relay_active_sessions", &[]) != Some(members) {
        assert!(Instant::now() < deadline, "{members} members never were there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The first address of the name is nobody's: the second is tried while the first
/// may still answer.
#[test]
fn a_dead_address_costs_a_quarter_of_a_second() {
    if !skip::have_namespaces("a_dead_address_costs_a_quarter_of_a_second") {
        return;
    }
    let network = Network::new(&["relay", "client"]).unwrap();
    let [relay_host, client_host] = network.hosts() else { panic!("two hosts") };
    let folder = temporary_state().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, format!("fd77::dead relay.test\n{} relay.test\n", relay_host.v4))
        .unwrap();
    let relay = relay_on(relay_host, folder.path());
    let pin = relay.fingerprint().to_owned();
    let arguments = ["--pin", &pin, "--duration", "0"];
    let begun = Instant::now();
    let command = client(client_host, &hosts, &["relay.test"], &arguments);
    let summary = Client::from_command("client", command).unwrap().finish(LIMIT).unwrap();
    assert_eq!(summary.end, "duration");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    // A port that nobody listens on is told by the network, also by another host's.
    relay.stop().unwrap();
    let command = client(client_host, &hosts, &[&format!("{}", relay_host.v4)], &arguments);
    let begun = Instant::now();
    let error = Client::from_command("client", command).unwrap().fail(LIMIT).unwrap();
    assert!(error.contains("cannot be reached: nothing listens on that port"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_relay_that_is_killed_and_comes_back_keeps_its_call() {
    if !skip::have_namespaces("a_relay_that_is_killed_and_comes_back_keeps_its_call") {
        return;
    }
    let network = Network::new(&["relay", "client"]).unwrap();
    let [relay_host, client_host] = network.hosts() else { panic!("two hosts") };
    let folder = temporary_state().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let relay = relay_on(relay_host, folder.path());
    let pin = relay.fingerprint().to_owned();
    let address = format!("{}:{PORT}", relay_host.v4);
    let listener = Listener::start(client_host, folder.path(), &hosts, &[&address], &[&pin]);
    let speaker = talk(client_host, &hosts, &[&address], &[&pin], "8");
    wait_for_members(&relay, 2.0);
    std::thread::sleep(Duration::from_secs(3));
    let killed = Command::new("kill").args(["-KILL", &relay.id().to_string()]).status();
    assert!(killed.unwrap().success());
    drop(relay);
    let relay = relay_on(relay_host, folder.path());
    let spoken = speaker.finish(LIMIT).unwrap();
    let (heard, seconds, sounding) = listener.leave();
    relay.stop().unwrap();
    assert!(spoken.end == "sent" && spoken.frames_sent >= 390, "{spoken:?}");
    for summary in [&spoken, &heard] {
        let [interruption] = &summary.interruptions[..] else { panic!("{summary:?}") };
        assert!(interruption.seconds < 5.0, "{summary:?}");
    }
    assert!(seconds > 8.0 && (5.0..8.1).contains(&sounding), "{seconds} s, {sounding} s of tone");
}

#[test]
fn a_relay_that_moves_is_followed_by_its_name() {
    if !skip::have_namespaces("a_relay_that_moves_is_followed_by_its_name") {
        return;
    }
    let network = Network::new(&["before", "after", "client"]).unwrap();
    let [before, after, client_host] = network.hosts() else { panic!("three hosts") };
    let folder = temporary_state().unwrap();
    let hosts = folder.path().join("hosts");
    let name = |host: &Host| std::fs::write(&hosts, format!("{} relay.test\n", host.v4)).unwrap();
    name(before);
    let relay = relay_on(before, folder.path());
    let pin = relay.fingerprint().to_owned();
    let listener = Listener::start(client_host, folder.path(), &hosts, &["relay.test"], &[&pin]);
    let speaker = talk(client_host, &hosts, &["relay.test"], &[&pin], "8");
    wait_for_members(&relay, 2.0);
    std::thread::sleep(Duration::from_secs(2));
    // It drains for two seconds, and then it is gone.
    relay.terminate().unwrap();
    name(after);
    let mut relay = relay;
    relay.wait().unwrap();
    let moved = relay_on(after, folder.path());
    let spoken = speaker.finish(LIMIT).unwrap();
    let (heard, _, sounding) = listener.leave();
    moved.stop().unwrap();
    assert!(spoken.end == "sent" && spoken.frames_sent >= 390, "{spoken:?}");
    assert_eq!((spoken.interruptions.len(), heard.interruptions.len()), (1, 1), "{heard:?}");
    assert!((5.0..8.1).contains(&sounding), "{sounding} s of the tone");
}

#[test]
fn a_relay_that_drains_sends_its_call_to_another() {
    if !skip::have_namespaces("a_relay_that_drains_sends_its_call_to_another") {
        return;
    }
    let network = Network::new(&["first", "second", "client"]).unwrap();
    let [first, second, client_host] = network.hosts() else { panic!("three hosts") };
    let folders = [temporary_state().unwrap(), temporary_state().unwrap()];
    let hosts = folders[0].path().join("hosts");
    std::fs::write(&hosts, format!("{} first.test\n{} second.test\n", first.v4, second.v4))
        .unwrap();
    let relay = relay_on(first, folders[0].path());
    let other = relay_on(second, folders[1].path());
    let pins = [relay.fingerprint().to_owned(), other.fingerprint().to_owned()];
    let pins = [&pins[0][..], &pins[1]];
    let relays = ["first.test", "second.test"];
    let listener = Listener::start(client_host, folders[0].path(), &hosts, &relays, &pins);
    let speaker = talk(client_host, &hosts, &relays, &pins, "6");
    wait_for_members(&relay, 2.0);
    std::thread::sleep(Duration::from_secs(2));
    relay.stop().unwrap();
    let spoken = speaker.finish(LIMIT).unwrap();
    let (heard, seconds, sounding) = listener.leave();
    other.stop().unwrap();
    assert_eq!((spoken.end.as_str(), spoken.frames_sent), ("sent", 300), "{spoken:?}");
    for summary in [&spoken, &heard] {
        let [interruption] = &summary.interruptions[..] else { panic!("{summary:?}") };
        assert_eq!((interruption.relay.as_str(), interruption.seconds), ("first.test:4433", 0.0));
    }
    // They move within two seconds of each other, and hear each other but for that.
    assert!(seconds < 8.0 && sounding > 3.5, "{seconds} s, {sounding} s of tone");
}

#[test]
fn a_full_disk_ends_the_call_and_leaves_what_fits() {
    if !skip::have_namespaces("a_full_disk_ends_the_call_and_leaves_what_fits") {
        return;
    }
    let network = Network::new(&["relay", "client"]).unwrap();
    let [relay_host, client_host] = network.hosts() else { panic!("two hosts") };
    let folder = temporary_state().unwrap();
    let (hosts, disk) = (folder.path().join("hosts"), folder.path().join("disk"));
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    std::fs::create_dir(&disk).unwrap();
    let relay = relay_on(relay_host, folder.path());
    let address = format!("{}:{PORT}", relay_host.v4);
    let kept = folder.path().join("kept.wav");
    // A disk of its own, and what is on it in the end.
    let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" || exit 99
        file=\"$2/heard.wav\"; to=\"$3\"; shift 3; \"$@\" --record \"$file\"; code=$?
        cp \"$file\" \"$to\"; exit $code";
    let with_disk = |size: &str| {
        let mut command = client_host.namespace.command("sh");
        command.args(["-c", script, "sh", size]).args([&disk, &kept]).arg(binaries::client());
        command.args(["--pin", relay.fingerprint(), "--room", "lobby", "--no-reconnect", &address]);
        command
    };
    let speaker = talk(client_host, &hosts, &[&address], &[relay.fingerprint()], "10");
    let output = with_disk("256k").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("heard.wav cannot be written: No space left on device"), "{text}");
    let samples = speech::read(&kept).unwrap();
    assert!((90_000..131_000).contains(&samples.len()), "{} samples", samples.len());
    speaker.finish(LIMIT).unwrap();
    relay.stop().unwrap();
}
