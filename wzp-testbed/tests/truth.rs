//! What a relay says of its sessions, against what the network and the clients
//! know.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use wzp_testbed::client::{Client, Launch as ClientLaunch};
use wzp_testbed::impair::loss;
use wzp_testbed::impair::proxy::{Impairment, Proxy};
use wzp_testbed::loopback::Loopback;
use wzp_testbed::metrics::{Sample, Scrape};
use wzp_testbed::netns::Network;
use wzp_testbed::relay::{Launch, Relay, temporary_state};
use wzp_testbed::{binaries, realtime, skip};

const LIMIT: Duration = Duration::from_secs(60);

/// Scrapes until `holds`; gives that scrape.
fn scrape_until(relay: &Relay<'_>, what: &str, mut holds: impl FnMut(&Scrape) -> bool) -> Scrape {
    let deadline = Instant::now() + LIMIT;
    loop {
        let scrape = relay.scrape().unwrap();
        if holds(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {:?}", sessions(&scrape));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All that is said of single sessions.
fn sessions(scrape: &Scrape) -> Vec<String> {
    let samples = scrape.samples.iter().filter(|sample| sample.labels.contains_key("session_id"));
    samples.map(|sample| format!("{} {:?} {}", sample.name, sample.labels, sample.value)).collect()
}

/// A family's series, one for each session.
fn samples<'a>(scrape: &'a Scrape, name: &'a str) -> impl Iterator<Item = &'a Sample> {
    scrape.samples.iter().filter(move |sample| sample.name == name)
}

fn values(scrape: &Scrape, name: &str) -> Vec<f64> {
    samples(scrape, name).map(|sample| sample.value).collect()
}

#[test]
fn loss_is_what_the_kernel_dropped_on_the_way() {
    if !skip::have_namespaces("loss_is_what_the_kernel_dropped_on_the_way") {
        return;
    }
    let network = Network::new(&["relay", "talker"]).unwrap();
    let [relay_host, talker_host] = network.hosts() else { panic!("two hosts") };
    let folder = temporary_state().unwrap();
    let relay = Relay::start(&Launch {
        program: binaries::relay(),
        namespace: Some(&relay_host.namespace),
        listen: (relay_host.v4, 0).into(),
        state_dir: folder.path().join("state"),
        arguments: Vec::new(),
    })
    .unwrap();
    loss::every_nth_voice(&relay_host.namespace, 20, talker_host.v4.into()).unwrap();
    let launch = ClientLaunch {
        program: binaries::client(),
        namespace: Some(&talker_host.namespace),
        relay: relay.listen(),
        pin: relay.fingerprint().to_owned(),
        room: "truth".to_owned(),
        name: "talker".to_owned(),
    };
    let talker = Client::start(&launch, &["--send-tone", "60"]).unwrap();
    let scrape = scrape_until(&relay, "20 s of voice", |scrape| {
        scrape.sum("wzp_relay_media_packets_received_total", &[]) >= Some(1000.0)
    });
    let percent = values(&scrape, "wzp_relay_session_loss_pct");
    println!("{:?}", sessions(&scrape));
    assert!(percent.len() == 1 && (percent[0] - 5.0).abs() <= 0.7, "{percent:?} %");
    talker.leave(LIMIT).unwrap();
    relay.stop().unwrap();
}

#[test]
fn round_trip_is_what_the_path_takes() {
    // A compiler that runs beside the test would lengthen the path.
    let at_most = if realtime::set(true) { 83.0 } else { 100.0 };
    let loopback = Loopback::new(&[]);
    let way = Impairment { delay: Duration::from_millis(40), ..Impairment::default() };
    let relay = loopback.relay();
    let proxy = Proxy::start((Ipv4Addr::LOCALHOST, 0).into(), relay.listen(), way, way).unwrap();
    let launch = |name| ClientLaunch { relay: proxy.address(), ..loopback.client("truth", name) };
    // Each frame that one hears is a measurement of its path, and a late one soon
    // weighs nothing.
    let talkers =
        ["one", "two"].map(|name| Client::start(&launch(name), &["--send-tone", "120"]).unwrap());
    // The simulation tells to the millisecond. Here it is 81.6 ms, and without
    // real-time scheduling half of a frame more on a machine that is busy.
    let mut measured = BTreeSet::new();
    let scrape = scrape_until(relay, "round trips of 80 ms and little more", |scrape| {
        for sample in samples(scrape, "wzp_relay_session_rtt_ms") {
            assert!(sample.value >= 77.0, "shorter than the path: {} ms", sample.value);
            if sample.value <= at_most {
                measured.insert(sample.labels["session_id"].clone());
            }
        }
        measured.len() == 2
    });
    println!("{:?}", sessions(&scrape));
    let scrape = scrape_until(relay, "both reports", |scrape| {
        let reported = values(scrape, "wzp_relay_session_jitter_buffer_depth");
        // The histogram has it a second later at most.
        let observed = scrape.sum("wzp_relay_jitter_seconds_count", &[]);
        reported.len() == 2 && observed > Some(0.0)
    });
    assert_eq!(values(&scrape, "wzp_relay_session_underruns_total").len(), 2);
    let long = scrape.sum("wzp_relay_rtt_seconds_bucket", &[("le", "0.075")]);
    let all = scrape.sum("wzp_relay_rtt_seconds_count", &[]);
    assert!(long < all && all > Some(0.0), "{long:?} of {all:?} round trips are too short");
    for talker in talkers {
        talker.leave(LIMIT).unwrap();
    }
    loopback.stop();
}

/// A name, labels and the value expected.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

#[test]
fn counts_are_those_of_the_clients() {
    let loopback = Loopback::new(&[]);
    let relay = loopback.relay();
    let stranger = ClientLaunch { pin: "00".repeat(32), ..loopback.client("truth", "stranger") };
    Client::start(&stranger, &["--duration", "1"]).unwrap().fail(LIMIT).unwrap();

    let listeners =
        ["one", "two"].map(|name| Client::start(&loopback.client("truth", name), &[]).unwrap());
    let arguments = ["--send-tone", "2", "--wait-for", "2", "--linger", "0.5"];
    let talker = Client::start(&loopback.client("truth", "talker"), &arguments).unwrap();
    let state = |scrape: &Scrape, state| scrape.sum("wraith_session_state", &[("state", state)]);
    scrape_until(relay, "three sessions", |scrape| state(scrape, "established") == Some(3.0));
    let sent = talker.finish(LIMIT).unwrap().frames_sent;
    let received = listeners.map(|listener| listener.leave(LIMIT).unwrap().frames_received);
    assert_eq!(received, [sent, sent]);
    let scrape = scrape_until(relay, "the end", |scrape| state(scrape, "established") == Some(0.0));

    let connections = "wraith_connection_duration_seconds_count";
    let all = ("le", "+Inf");
    let cases: [Case<'_>; 10] = [
        ("wzp_relay_media_packets_forwarded_total", &[], 2.0 * sent as f64),
        ("wzp_relay_packets_forwarded_total", &[("room", "truth")], 2.0 * sent as f64),
        ("wraith_connections_total", &[], 4.0),
        ("wraith_connections_failed_total", &[], 1.0),
        ("wraith_handshake_failures_total", &[], 1.0),
        ("wzp_relay_handshake_failures_total", &[("reason", "transport")], 1.0),
        ("wraith_handshake_duration_seconds_bucket", &[all], 3.0),
        ("wzp_relay_handshake_duration_seconds_count", &[], 3.0),
        (connections, &[], 4.0),
        ("wraith_sessions_active", &[], 0.0),
    ];
    for (name, labels, expected) in cases {
        assert_eq!(scrape.sum(name, labels), Some(expected), "{name}{labels:?}");
    }
    for (wraith, own) in [
        ("wraith_network_packets_received_total", "wzp_relay_udp_packets_received_total"),
        ("wraith_network_packets_sent_total", "wzp_relay_udp_packets_sent_total"),
    ] {
        assert_eq!(scrape.sum(wraith, &[]), scrape.sum(own, &[]), "{wraith}");
    }
    // Each frame came in a packet of its own, which carries more than the frame.
    let bytes = |name| scrape.sum(name, &[]).unwrap();
    let (packets, media) = (
        bytes("wraith_network_bytes_received_total"),
        bytes("wzp_relay_media_bytes_received_total"),
    );
    assert!(packets > media && media > 0.0, "{packets} bytes with {media} of media");
    loopback.stop();
}
