//! What the sender is told, for listeners honest and otherwise.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wzp_media::profile::{Feedback as Heard, ProfileSelector};
use wzp_proto::control::SourceReport;

use super::*;
use crate::room::passed::Passed;
use crate::session::downlink::{Downlink, Sent};
use crate::session::reports::Reports;

const GOOD_FRAMES: u32 = 50;

/// A sender of whom 50 frames a second came and come, less those lost before,
/// from 20 s ago on.
fn uplink(now: Instant, lost_of_hundred: u32) -> LossWindow {
    let start = now - Duration::from_secs(20);
    let mut window = LossWindow::new(start);
    for frame in (0..1200).filter(|frame| frame % 100 >= lost_of_hundred) {
        window.arrived(start + Duration::from_millis(20) * frame, frame);
    }
    window
}

fn hearing(lost: u32, jitter_us: u32) -> Hearing {
    Hearing { expected: 50, lost, known_ppm: 1_000_000, jitter_us, span: INTERVAL }
}

#[test]
fn one_message_a_second_while_somebody_reports() {
    let start = Instant::now();
    let mut uplink = uplink(start, 0);
    let mut feedback = Feedback::default();
    assert_eq!(feedback.take(start, &mut uplink), None);
    for (listener, lost, is_first) in [(1, 9, true), (1, 0, false), (2, 10, false)] {
        assert_eq!(feedback.add(start, listener, hearing(lost, lost)), is_first);
    }
    assert_eq!(feedback.take(start + INTERVAL / 2, &mut uplink), None);
    let expected = SenderFeedback {
        listeners: 2,
        mean_loss_ppm: 100_000,
        deciding_loss_ppm: 200_000,
        deciding_jitter_us: 10,
    };
    assert_eq!(feedback.take(start + INTERVAL, &mut uplink), Some((expected, 0)));
    // One of the two speaks again, the other's word is still fresh.
    feedback.add(start + INTERVAL * 3 / 2, 1, hearing(0, 0));
    let next = start + INTERVAL * 2;
    assert_eq!(feedback.due(), Some(next));
    let (again, _) = feedback.take(next - INTERVAL / 4, &mut uplink).unwrap_or_default();
    assert_eq!(again, SenderFeedback::default(), "not yet");
    let (again, _) = feedback.take(next, &mut uplink).unwrap();
    assert_eq!(again.listeners, 1, "the other's is out of date");
    // What is out of date is forgotten, and nothing is said any more.
    assert_eq!(feedback.take(next + INTERVAL * 2, &mut uplink), None);
    assert_eq!((feedback.due(), feedback.by_listener.capacity()), (None, 0));
}

#[test]
fn the_room_decides() {
    // Losses, of 50 frames, of the listeners; jitter in ms is the same number.
    let cases: [(&str, &[u32], u32); 9] = [
        ("a call of two", &[20], 20),
        ("a call of three", &[0, 20], 20),
        ("a call of four", &[0, 0, 20], 20),
        ("a call of five: one does not decide", &[1, 1, 1, 20], 1),
        ("two of them do", &[1, 1, 20, 25], 20),
        ("a tenth of a hall", &[2, 1, 0, 0, 1, 2, 0, 0, 0, 20], 1),
        ("three tenths", &[20, 20, 20, 0, 0, 0, 0, 0, 0, 1], 1),
        ("four tenths", &[20, 20, 20, 20, 0, 0, 0, 0, 0, 1], 20),
        ("all", &[30; 9], 30),
    ];
    for (case, losses, deciding) in cases {
        let now = Instant::now();
        let mut feedback = Feedback::default();
        for (listener, lost) in (1..).zip(losses) {
            feedback.add(now, listener, hearing(*lost, lost * 1000));
        }
        let (told, _) = feedback.take(now + INTERVAL, &mut uplink(now, 0)).unwrap();
        assert_eq!(told.listeners as usize, losses.len(), "{case}");
        assert_eq!(told.deciding_loss_ppm, deciding * 20_000, "{case}");
        assert_eq!(told.deciding_jitter_us, deciding * 1000, "{case}: of the same listener");
        let mean = losses.iter().sum::<u32>() * 20_000 / losses.len() as u32;
        assert_eq!(told.mean_loss_ppm, mean, "{case}");
    }
}

#[test]
fn nobody_weighs_more_than_others_or_than_was_sent() {
    let now = Instant::now();
    let told = |frames: [u32; 4], uplink: &mut LossWindow| {
        let mut feedback = Feedback::default();
        for (listener, expected) in (1..).zip(frames) {
            let lost = if listener == 4 { expected } else { 0 };
            feedback.add(now, listener, Hearing { expected, ..hearing(lost, 0) });
        }
        feedback.take(now + INTERVAL, uplink).map(|(told, _)| told.deciding_loss_ppm)
    };
    let cases = [
        ("each the same", [50, 50, 50, 50], Some(0)),
        ("one claims to hear much more", [50, 50, 50, 2000], Some(0)),
        ("three have just come", [5, 5, 5, 50], Some(1_000_000)),
    ];
    for (case, frames, deciding) in cases {
        assert_eq!(told(frames, &mut uplink(now, 0)), deciding, "{case}");
    }
    // Three frames came in the last seconds.
    let mut few = LossWindow::new(now - INTERVAL);
    (1..=3).for_each(|frame| few.arrived(now - INTERVAL, frame));
    assert_eq!(told([3, 3, 3, 50], &mut few), Some(0), "nobody has heard more");
    assert_eq!(told([3, 3, 3, 50], &mut LossWindow::new(now)), None, "nothing was sent");
}

#[test]
fn nobody_claims_more_loss_than_the_relay_has_reason_to_believe() {
    // Lost of 50 as claimed, known on the way down in ppm, and on the way up in
    // per cent; what is believed in ppm.
    let cases = [
        ("a lie", 25, 0, 0, 0, 1),
        ("twice what was lost", 50, 50_000, 0, 100_000, 1),
        ("what was lost", 5, 100_000, 0, 100_000, 0),
        ("less than that", 1, 1_000_000, 50, 20_000, 0),
        ("what was lost before the relay", 10, 0, 20, 200_000, 0),
        ("some here and some there", 20, 100_000, 10, 400_000, 0),
    ];
    for (case, lost, known_ppm, lost_before, believed, exaggerated) in cases {
        let now = Instant::now();
        let mut feedback = Feedback::default();
        feedback.add(now, 1, Hearing { known_ppm, ..hearing(lost, 0) });
        let (told, count) = feedback.take(now, &mut uplink(now, lost_before)).unwrap_or_default();
        assert_eq!((told, count), Default::default(), "not yet");
        let at = now + INTERVAL;
        let (told, count) = feedback.take(at, &mut uplink(at, lost_before)).unwrap();
        let difference = told.deciding_loss_ppm.abs_diff(believed);
        assert!(difference <= believed / 10, "{case}: {told:?}");
        assert_eq!(count, exaggerated, "{case}");
    }
}

/// A sender's audience: each hears through its own path and reports once a
/// second.
struct Hall {
    rng: StdRng,
    listeners: Vec<Listener>,
}

struct Listener {
    /// Share of packets that are lost on the way to it.
    loss: f64,
    reports: Reports,
    downlink: Downlink,
    sent: Sent,
    passed: Passed,
    /// What it has to report.
    totals: SourceReport,
    /// Frames missing since the last that came.
    missing: u32,
    /// It says that half of everything is lost.
    lies: bool,
}

impl Listener {
    fn new(loss: f64, now: Instant) -> Self {
        Self {
            loss,
            reports: Reports::new(now),
            downlink: Downlink::new(now),
            sent: Sent::default(),
            passed: Passed::default(),
            totals: SourceReport { sender_id: 1, jitter_us: 35_000, ..SourceReport::default() },
            missing: 0,
            lies: false,
        }
    }

    fn is_sent(&mut self, rng: &mut StdRng) {
        self.sent.forwarded += 1;
        self.sent.packets += 1;
        let sequence = self.sent.forwarded as u32;
        self.passed.note(sequence);
        if rng.random_bool(self.loss) {
            self.sent.packets_lost += 1;
            self.missing += 1;
        } else {
            self.totals.frames_expected += 1 + self.missing;
            self.totals.frames_lost += std::mem::take(&mut self.missing);
            self.totals.through_sequence = Some(sequence);
        }
    }

    fn report(&mut self, now: Instant) -> Option<Hearing> {
        let mut totals = self.totals;
        if self.lies {
            totals.frames_lost = totals.frames_expected / 2;
        }
        let known_ppm = self.downlink.update(now, self.sent);
        let digest = self.reports.take(
            now,
            &[totals],
            known_ppm,
            |_| Some(&self.passed),
            |reason| {
                panic!("{reason:?}: {totals:?}");
            },
        );
        self.downlink.hear(now, digest.heard);
        digest.hearings.first().map(|(_, hearing)| *hearing)
    }
}

impl Hall {
    /// Seconds spent in each profile, and the times at which a listener was told
    /// that it hears badly.
    fn run(&mut self, start: Instant, frames: u32, seconds: u32) -> ([u32; 3], Vec<usize>) {
        let mut selector = ProfileSelector::new();
        let mut feedback = Feedback::default();
        let mut uplink = LossWindow::new(start);
        let mut spent = [0; 3];
        let mut told_to_themselves = Vec::new();
        for frame in 0..frames * seconds {
            let at = Duration::from_secs(1) * frame / frames;
            let now = start + at;
            uplink.arrived(now, frame);
            for (number, listener) in self.listeners.iter_mut().enumerate() {
                listener.is_sent(&mut self.rng);
                // Their seconds begin at different times.
                if frame % frames == number as u32 % frames {
                    if let Some(hearing) = listener.report(now) {
                        feedback.add(now, number as u16 + 1, hearing);
                    }
                    told_to_themselves.extend(listener.downlink.poor(now).map(|_| number));
                }
            }
            if let Some((told, _)) = feedback.take(now, &mut uplink) {
                let heard = Heard {
                    listeners: told.listeners,
                    mean_loss_ppm: told.mean_loss_ppm,
                    deciding_loss_ppm: told.deciding_loss_ppm,
                    deciding_jitter_us: told.deciding_jitter_us,
                };
                selector.update(at, &heard);
            }
            if frame % frames == 0 {
                spent[selector.choice().profile as usize] += 1;
            }
        }
        (spent, told_to_themselves)
    }
}

/// With a jitter that would let a profile be given up at 8 % already.
fn hall(losses: impl IntoIterator<Item = f64>, frames: u32) -> ([u32; 3], Vec<usize>) {
    let start = Instant::now();
    let listeners = losses.into_iter().map(|loss| Listener::new(loss, start)).collect();
    Hall { rng: StdRng::seed_from_u64(9), listeners }.run(start, frames, 300)
}

#[test]
fn a_hall_of_honest_listeners_leaves_a_talker_alone() {
    const HALL: usize = 300;
    let cases: [(&str, f64, usize, u32); 4] = [
        ("1 % lost, 3 frames a second", 0.01, 0, 3),
        ("3 % lost, 50 frames a second", 0.03, 0, GOOD_FRAMES),
        ("1 % lost, a tenth loses 40 %, 3 frames a second", 0.01, HALL / 10, 3),
        ("3 % lost, a tenth loses 40 %, 50 frames a second", 0.03, HALL / 10, GOOD_FRAMES),
    ];
    for (case, loss, unlucky, frames) in cases {
        let losses = (0..HALL).map(|number| if number < unlucky { 0.4 } else { loss });
        let (spent, mut told) = hall(losses, frames);
        assert_eq!(spent, [300, 0, 0], "{case}: seconds in each profile");
        told.sort_unstable();
        told.dedup();
        assert!(told.into_iter().eq(0..unlucky), "{case}: told to themselves");
    }
}

#[test]
fn the_one_listener_of_a_call_decides() {
    for (loss, good) in [(0.02, 300..=300), (0.3, 0..=3), (0.6, 0..=3)] {
        let (spent, _) = hall([loss], GOOD_FRAMES);
        assert!(good.contains(&spent[0]), "{loss}: {spent:?}");
    }
}

#[test]
fn a_liar_changes_nothing() {
    for honest in [0, 1, 2, 5] {
        let start = Instant::now();
        let mut listeners: Vec<_> = (0..=honest).map(|_| Listener::new(0.01, start)).collect();
        listeners[honest] = Listener { lies: true, ..Listener::new(0.0, start) };
        let mut hall = Hall { rng: StdRng::seed_from_u64(5), listeners };
        let (spent, told) = hall.run(start, GOOD_FRAMES, 54);
        assert_eq!(spent, [54, 0, 0], "{honest} honest listeners");
        assert!(told.iter().all(|listener| *listener == honest), "a lie falls on who tells it");
    }
}

proptest! {
    /// Whatever is heard: no panic, and nothing beyond what was claimed.
    #[test]
    fn whatever_is_heard_is_summed_up_within_bounds(
        steps in prop::collection::vec(
            (1u16..9, any::<(u32, u32, u32, u32)>(), 0u64..20_000, 0u64..2000),
            0..80,
        ),
    ) {
        let start = Instant::now();
        let mut feedback = Feedback::default();
        let mut uplink = LossWindow::new(start);
        let mut now = start;
        for (sequence, (listener, (expected, lost, known_ppm, jitter_us), span, pause)) in
            (0..).zip(steps)
        {
            now += Duration::from_millis(pause);
            uplink.arrived(now, sequence);
            let span = Duration::from_millis(span);
            feedback.add(now, listener, Hearing { expected, lost, known_ppm, jitter_us, span });
            if let Some((told, exaggerated)) = feedback.take(now, &mut uplink) {
                prop_assert!((1..9).contains(&told.listeners));
                prop_assert!(told.mean_loss_ppm <= 1_000_000);
                prop_assert!(told.deciding_loss_ppm <= 1_000_000);
                prop_assert!(exaggerated < 9);
            }
            prop_assert!(feedback.by_listener.len() < 9);
        }
    }
}
