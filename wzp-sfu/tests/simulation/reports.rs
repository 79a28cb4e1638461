//! Listeners' reports, honest and otherwise, and what becomes of the sender.

use std::time::Duration;

use wzp_media::profile::{Feedback, ProfileSelector};
use wzp_proto::control::{ReceiverReport, SourceReport, client_message::Message, notice};
use wzp_proto::media::Profile;
use wzp_sfu::count::reason::ReportRefusal;
use wzp_sfu::limits::Limits;

use wzp_sim::client::{Opening, hello};
use wzp_sim::world::{Conditions, World};

const FRAME: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// A room of so many on two shards, of whom the first talks. The others lose
/// that share of what is sent to them, each its own.
fn audience(seed: u64, losses: &[f64]) -> World {
    let conditions = Conditions { delay: Duration::from_millis(30), ..Conditions::default() };
    let mut world = World::new(seed, 2, Limits::default(), conditions);
    for number in 0..=losses.len() {
        world.connect(0, Opening::Hello(hello(0, number)));
    }
    let together =
        |world: &World| world.clients.iter().all(|client| client.members.len() == losses.len());
    assert!(world.run_until(Duration::from_secs(5), together));
    for (client, loss) in world.clients[1..].iter_mut().zip(losses) {
        client.path_loss = Some([*loss; 2]);
    }
    world.start_talking(0, FRAME);
    world
}

/// Everyone in `listeners` reports once a second what it hears.
fn listen(world: &mut World, seconds: u32, listeners: std::ops::Range<usize>) {
    for _ in 0..seconds {
        world.run_for(SECOND);
        for listener in listeners.clone() {
            world.with_client(listener, |client, now| client.report_heard(now));
        }
    }
}

/// The lowest profile that the talker came to by what it was told.
fn lowest(world: &World) -> Profile {
    let mut selector = ProfileSelector::new();
    let choices = (0..).zip(&world.clients[0].feedback).map(|(second, told)| {
        let feedback = Feedback {
            listeners: told.listeners,
            mean_loss_ppm: told.mean_loss_ppm,
            deciding_loss_ppm: told.deciding_loss_ppm,
            deciding_jitter_us: told.deciding_jitter_us,
        };
        selector.update(SECOND * second, &feedback).profile as usize
    });
    Profile::ALL[choices.max().unwrap()]
}

fn hears_badly(world: &World) -> Vec<usize> {
    let told = world.clients.iter().filter(|client| {
        client.notices.iter().any(|notice| notice.code() == notice::Code::PoorReception)
    });
    told.map(|client| client.number).collect()
}

/// Four of forty lose 40 %: the talker goes on as it was, and they are told.
#[test]
fn a_tenth_of_a_hall_on_bad_paths_is_told_and_costs_the_rest_nothing() {
    let losses: Vec<f64> = (0..40).map(|listener| if listener < 4 { 0.4 } else { 0.03 }).collect();
    let mut world = audience(1, &losses);
    listen(&mut world, 25, 1..41);
    let feedback = &world.clients[0].feedback;
    assert!(feedback.len() >= 20, "{feedback:?}");
    assert!(feedback[1..].iter().all(|told| told.listeners >= 30), "{feedback:?}");
    let most = feedback.iter().map(|told| told.deciding_loss_ppm).max();
    assert!(most.is_some_and(|ppm| (30_000..80_000).contains(&ppm)), "{most:?}");
    assert_eq!(lowest(&world), Profile::Good);
    assert_eq!(hears_badly(&world), [1, 2, 3, 4]);
    let notices = world.clients[1].notices.iter().map(|notice| notice.text.as_str());
    assert!(notices.clone().all(|text| text.contains(" % of the voices sent to you were lost")));
    assert!((1..=2).contains(&notices.count()), "at most one in ten seconds");
}

#[test]
fn the_one_listener_of_a_call_decides() {
    let mut world = audience(2, &[0.4]);
    listen(&mut world, 10, 1..2);
    assert_ne!(lowest(&world), Profile::Good, "{:?}", world.clients[0].feedback);
}

#[test]
fn a_listener_of_five_on_a_bad_path_does_not_decide() {
    let mut world = audience(3, &[0.0, 0.0, 0.0, 0.0, 0.4]);
    listen(&mut world, 20, 1..6);
    assert_eq!(lowest(&world), Profile::Good, "{:?}", world.clients[0].feedback);
    assert_eq!(hears_badly(&world), [5]);
}

/// 54 reports that half of everything is lost, from whom nothing was lost: as
/// one of six, and as the only one.
#[test]
fn a_listener_that_lies_is_not_believed() {
    for honest in [5, 0] {
        let mut world = audience(4, &vec![0.0; honest + 1]);
        let liar = honest + 1;
        for second in 1..=54 {
            listen(&mut world, 1, 1..liar);
            world.with_client(liar, |client, _| {
                let sender_id = client.heard[&0].sender_id.into();
                let (frames_expected, frames_lost) = (50 * second, 25 * second);
                let lie = SourceReport {
                    sender_id,
                    frames_expected,
                    frames_lost,
                    jitter_us: 9_000_000,
                    ..SourceReport::default()
                };
                client.say(Message::ReceiverReport(ReceiverReport { sources: vec![lie] }));
            });
        }
        let feedback = &world.clients[0].feedback;
        assert!(feedback.len() >= 50, "{}", feedback.len());
        assert!(feedback.iter().all(|told| (told.mean_loss_ppm, told.deciding_loss_ppm) == (0, 0)));
        assert_eq!(lowest(&world), Profile::Good);
        assert!(world.sum(|stats| stats.reports_exaggerated.get()) >= 50);
    }
}

#[test]
fn what_a_talker_loses_before_the_relay_counts_for_all() {
    let mut world = audience(5, &[0.0; 8]);
    world.clients[0].loses_every = Some(3);
    listen(&mut world, 12, 1..9);
    let last = world.clients[0].feedback.last().unwrap();
    assert!(last.deciding_loss_ppm.abs_diff(333_333) < 30_000, "{last:?}");
    assert_ne!(lowest(&world), Profile::Good);
    assert!(hears_badly(&world).is_empty(), "their paths are good");
}

#[test]
fn reports_that_cannot_be_are_counted_and_shown_nowhere() {
    let mut world = audience(6, &[0.0, 0.0]);
    world.run_for(SECOND);
    let sender_id = world.clients[1].heard[&0].sender_id.into();
    let good = SourceReport { sender_id, frames_expected: 40, ..SourceReport::default() };
    let hour = SourceReport { jitter_us: 3_600_000_000, ..good };
    let leap = SourceReport { underruns: 4_000_000_000, ..good };
    let silent = SourceReport { sender_id: 60_000, ..good };
    let cases = [
        (vec![hour], ReportRefusal::Impossible, true),
        (vec![good, good], ReportRefusal::Repeated, true),
        (vec![silent], ReportRefusal::UnknownSender, false),
        (vec![leap], ReportRefusal::Leap, false),
    ];
    for (sources, reason, is_told) in cases {
        let before = world.clients[1].notices.len();
        world.with_client(1, |client, _| {
            client.say(Message::ReceiverReport(ReceiverReport { sources }));
        });
        world.run_for(SECOND * 2);
        assert_eq!(world.refused_reports(reason), 1, "{reason:?}");
        let notices = &world.clients[1].notices[before..];
        assert_eq!(notices.len(), usize::from(is_told), "{notices:?}");
        assert!(notices.iter().all(|notice| notice.code() == notice::Code::InvalidReport));
    }
    for reading in world.shared.sessions.list() {
        let is_reporter = reading.participant.name == "client 1";
        let expected = is_reporter.then_some((Duration::ZERO, 0));
        assert_eq!(reading.jitter.zip(reading.underruns), expected, "{reading:?}");
    }
    let jitter = world.shared.sessions.distributions.jitter.reading();
    assert_eq!(jitter.counts[0], *jitter.counts.last().unwrap(), "{jitter:?}");
}
