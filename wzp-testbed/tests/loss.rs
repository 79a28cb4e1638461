//! Loss as a relay tells it, each way, with real clients over paths that lose and
//! reorder, against what the clients themselves have sent and heard.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::Value;
use wzp_testbed::client::{Client, Launch};
use wzp_testbed::impair::proxy::{Impairment, Proxy};
use wzp_testbed::loopback::Loopback;

const LIMIT: Duration = Duration::from_secs(60);

/// Frames of each talker that are to have come before one looks: half a minute's.
const FRAMES: f64 = 1500.0;

/// Share lost on the talker's way to the relay, and on the way from there to the
/// listener. Packets are up to 60 ms late, each by chance.
const CALLS: [[f64; 2]; 5] = [[0.0, 0.0], [0.2, 0.0], [0.0, 0.2], [0.05, 0.2], [0.2, 0.05]];

struct Call {
    room: String,
    talker: Client,
    listener: Client,
    _proxies: [Proxy; 2],
}

impl Call {
    fn start(loopback: &Loopback, seed: u64, [up, down]: [f64; 2]) -> Self {
        let room = format!("{up} up, {down} down");
        let way = |seed, loss| Impairment {
            seed,
            loss,
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(60),
            ..Impairment::default()
        };
        let proxy = |to_relay, to_clients| {
            let listen = (Ipv4Addr::LOCALHOST, 0).into();
            Proxy::start(listen, loopback.relay().listen(), to_relay, to_clients).unwrap()
        };
        let of_talker = proxy(way(seed, up), way(seed + 1, 0.0));
        let of_listener = proxy(way(seed + 2, 0.0), way(seed + 3, down));
        let client = |name, proxy: &Proxy, arguments: &[&str]| {
            let launch = Launch { relay: proxy.address(), ..loopback.client(&room, name) };
            Client::start(&launch, arguments).unwrap()
        };
        Self {
            listener: client("listener", &of_listener, &[]),
            talker: client("talker", &of_talker, &["--send-tone", "300", "--wait-for", "1"]),
            _proxies: [of_talker, of_listener],
            room,
        }
    }

    /// What the relay says of one of the two, in per cent.
    fn told(&self, sessions: &[Value], name: &str, direction: &str) -> f64 {
        let of_it = |session: &&Value| session["room"] == *self.room && session["name"] == name;
        let session = sessions.iter().find(of_it).unwrap();
        session[direction].as_f64().unwrap_or_else(|| panic!("{}: {session}", self.room))
    }
}

#[test]
fn loss_each_way_is_what_the_clients_miss() {
    let loopback = Loopback::new(&[]);
    let relay = loopback.relay();
    let calls: Vec<_> = (0..)
        .step_by(4)
        .zip(CALLS)
        .map(|(seed, ways)| Call::start(&loopback, seed, ways))
        .collect();
    let deadline = Instant::now() + LIMIT * 3;
    let expected: f64 = CALLS.iter().map(|[up, _]| FRAMES * (1.0 - up)).sum();
    let scrape = loop {
        let scrape = relay.scrape().unwrap();
        if scrape.sum("wzp_relay_media_packets_received_total", &[]) >= Some(expected) {
            break scrape;
        }
        assert!(Instant::now() < deadline, "the talkers have not talked for half a minute");
        std::thread::sleep(Duration::from_millis(200));
    };
    let answer = loopback.ask_admin("GET", "/sessions");
    let sessions: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(sessions.len(), 2 * CALLS.len(), "{sessions:?}");

    // The metrics say the same as `ctl`, but for what came in between.
    for session in &sessions {
        let id = session["session_id"].as_str().unwrap();
        let ratio = |direction| {
            let labels = [("session_id", id), ("direction", direction)];
            scrape.sum("wzp_relay_session_frame_loss_ratio", &labels)
        };
        let (rx, tx) = (ratio("rx"), ratio("tx"));
        for (ratio, row) in [(rx, "loss_pct"), (tx, "loss_out_pct")] {
            let row = session[row].as_f64();
            assert_eq!(ratio.is_some(), row.is_some(), "{session}");
            let off = ratio.zip(row).map_or(0.0, |(ratio, row)| (ratio * 1e2 - row).abs());
            assert!(off <= 1.0, "{session}, {ratio:?}");
        }
        let pct = scrape.sum("wzp_relay_session_loss_pct", &[("session_id", id)]);
        let worse = [rx, tx].into_iter().flatten().reduce(f64::max).map(|ratio| ratio * 1e2);
        // Written with three decimals.
        let is_worse = match (pct, worse) {
            (Some(pct), Some(worse)) => (pct - worse).abs() < 1e-3,
            (pct, worse) => pct == worse,
        };
        assert!(is_worse, "{pct:?} is not the worse of the two, {worse:?}");
    }

    for call in calls {
        let rx = call.told(&sessions, "talker", "loss_pct");
        let tx = call.told(&sessions, "listener", "loss_out_pct");
        let sent = call.talker.leave(LIMIT).unwrap().frames_sent;
        let heard = call.listener.leave(LIMIT).unwrap();
        // Both ways together, by the clients alone.
        let missed = 100.0 * (1.0 - heard.frames_received as f64 / sent as f64);
        let together = 100.0 * (1.0 - (1.0 - rx / 100.0) * (1.0 - tx / 100.0));
        println!("{}: told {rx:.2} and {tx:.2}, {missed:.2} missed of {sent}", call.room);
        assert!((together - missed).abs() <= 1.0, "{}: {together} % and not {missed}", call.room);
        // And each way as it was injected: three deviations of chance are 3.1 points.
        let [up, down] = CALLS
            .into_iter()
            .find(|[up, down]| call.room == format!("{up} up, {down} down"))
            .unwrap();
        for (told, injected) in [(rx, up), (tx, down)] {
            let chance = 300.0 * (injected * (1.0 - injected) / FRAMES).sqrt();
            assert!((told - injected * 100.0).abs() <= chance + 0.3, "{}: {told}", call.room);
        }
    }
    loopback.stop();
}
