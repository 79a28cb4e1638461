//! Loss as the relay tells it, each way, against what the network did: frames that were
//! sent and frames that came, as the clients and a plain count of the relay have them.

use std::collections::VecDeque;
use std::time::Duration;

use wzp_sfu::count::sessions::SessionReading;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// Seconds that the relay's figures are of.
const WINDOW: usize = 60;

/// From then on figures are compared: before, a frame on its way is a tenth of a point.
const SETTLED: usize = 15;

const SHARES: [f64; 3] = [0.0, 0.05, 0.2];

/// One second's look: what the talker has sent, what the relay has of it, and what the
/// listener has.
type Counts = [u64; 3];

/// A talker whose packets are lost on the way to the relay, and a listener that says
/// nothing, to whom others are lost, on two shards.
struct Call {
    world: World,
    seen: VecDeque<Counts>,
}

impl Call {
    fn new(seed: u64, [up, down]: [f64; 2], jitter_ms: u64) -> Self {
        let delay = Duration::from_millis(30);
        let conditions = Conditions { delay, ..Conditions::default() };
        let mut world = World::new(seed, 2, Limits::default(), conditions);
        for number in 0..2 {
            world.connect(0, Opening::Hello(hello(0, number)));
        }
        let together = |world: &World| world.clients.iter().all(|client| client.members.len() == 1);
        assert!(world.run_until(SECOND * 5, together));
        world.conditions.jitter = Duration::from_millis(jitter_ms);
        world.clients[0].path_loss = Some([up, 0.0]);
        world.clients[1].path_loss = Some([0.0, down]);
        world.start_talking(0, FRAME);
        Self { world, seen: VecDeque::from([[0; 3]]) }
    }

    fn reading(&self, client: usize) -> SessionReading {
        let name = format!("client {client}");
        let mut list = self.world.shared.sessions.list().into_iter();
        list.find(|reading| reading.participant.name == name).unwrap()
    }

    /// A second passes; the shares lost on both ways since a minute ago.
    fn second(&mut self) -> [f64; 2] {
        self.world.run_for(SECOND);
        self.world.with_client(1, |client, now| client.report_heard(now));
        // For the report, and for all that is on its way.
        let counts = [
            u64::from(self.world.clients[0].sent),
            self.reading(0).frames_received,
            self.world.clients[1].heard.get(&0).map_or(0, |heard| heard.sequences.len() as u64),
        ];
        if self.seen.len() > WINDOW {
            self.seen.pop_front();
        }
        let [sent, came, heard] = [0, 1, 2].map(|of| (counts[of] - self.seen[0][of]) as f64);
        self.seen.push_back(counts);
        [1.0 - came / sent, 1.0 - heard / came]
    }
}

/// Whether both ways are told within a point, at any time, with so much reordering.
fn is_told_within_a_point(jitter_ms: u64) {
    for (seed, (up, down)) in (0..).zip(SHARES.iter().flat_map(|up| SHARES.map(|down| (*up, down))))
    {
        let mut call = Call::new(seed, [up, down], jitter_ms);
        let mut lost = [0.0; 2];
        for second in 0..90 {
            lost = call.second();
            // The talker's figures are shown with its frames, the listener's with its report.
            call.world.run_for(Duration::from_millis(100));
            let told = [call.reading(0).loss_rx, call.reading(1).loss_tx];
            if second >= SETTLED {
                for (way, (told, lost)) in ["up", "down"].iter().zip(told.into_iter().zip(lost)) {
                    let told = told.unwrap();
                    assert!(
                        (told - lost).abs() <= 0.01,
                        "{up} up, {down} down, {jitter_ms} ms, {second} s: {way} {told}, not {lost}"
                    );
                }
            }
            let worse = call.reading(1).loss();
            assert_eq!(worse, told[1], "who sends nothing has what it reports");
        }
        for (lost, injected) in lost.into_iter().zip([up, down]) {
            // Four standard deviations of 3000 frames.
            let spread = 4.0 * (injected * (1.0 - injected) / 3000.0_f64).sqrt();
            assert!((lost - injected).abs() <= spread + 0.002, "{lost}, not {injected}");
        }
    }
}

#[test]
fn loss_in_order_is_told_within_a_point() {
    is_told_within_a_point(0);
}

#[test]
fn loss_is_told_within_a_point_where_some_frames_change_places() {
    is_told_within_a_point(20);
}

#[test]
fn loss_is_told_within_a_point_where_many_frames_change_places() {
    is_told_within_a_point(60);
}

/// QUIC takes for lost what three later packets overtake (RFC 9002 section 6.1.1).
#[test]
fn reordering_alone_is_no_loss_and_nobody_is_told_of_poor_reception() {
    let mut call = Call::new(11, [0.0; 2], 80);
    for _ in 0..30 {
        call.second();
        let told = [call.reading(0).loss_rx, call.reading(1).loss_tx];
        assert!(told.into_iter().flatten().all(|loss| loss == 0.0), "{told:?}");
    }
    assert!(call.reading(1).packets_lost > 100, "there was reordering");
    assert_eq!(call.world.clients[1].notices, []);
}

/// Its reports are of what it hears, so of nothing then.
#[test]
fn a_listener_to_whom_nothing_comes_any_more_is_told_as_one_that_misses_all() {
    let mut call = Call::new(12, [0.0; 2], 0);
    let look = |call: &mut Call, seconds, lost| {
        call.world.clients[1].path_loss = Some([0.0, lost]);
        let of_clients = (0..seconds).map(|_| call.second()[1]).last().unwrap();
        call.world.run_for(Duration::from_millis(100));
        (call.reading(1).loss_tx.unwrap(), of_clients)
    };
    for (seconds, lost) in [(20, 0.0), (15, 1.0), (20, 0.0), (15, 1.0), (40, 0.0)] {
        let (told, of_clients) = look(&mut call, seconds, lost);
        assert!((told - of_clients).abs() <= 0.02, "{lost}: {told}, not {of_clients}");
    }
}

/// A client that does not say up to which frame its reports go: the figure is as good
/// unless frames are lost before the relay, too, and then nearly.
#[test]
fn the_loss_of_a_listener_that_does_not_say_which_frames_it_means_is_told_nearly() {
    for (seed, up, most) in [(20, 0.0, 0.0), (21, 0.05, 0.01), (22, 0.2, 0.02)] {
        let mut call = Call::new(seed, [up, 0.2], 20);
        call.world.clients[1].says_which = false;
        for second in 0..60 {
            let [_, lost] = call.second();
            call.world.run_for(Duration::from_millis(100));
            let told = call.reading(1).loss_tx;
            if second >= SETTLED {
                let told = told.unwrap();
                assert!((told - lost).abs() <= 0.01 + most, "{up}, {second} s: {told}, not {lost}");
            }
        }
    }
}
