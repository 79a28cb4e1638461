//! Whatever a listener says, what is passed on of it is bounded.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A listener's reports, one a second from the first on.
struct Listener {
    reports: Reports,
    start: Instant,
    refused: RefCell<Vec<ReportRefusal>>,
    /// What it was sent of each sender.
    passed: Passed,
}

impl Listener {
    fn new() -> Self {
        let start = Instant::now();
        let (reports, refused) = (Reports::new(start), RefCell::default());
        Self { reports, start, refused, passed: Passed::default() }
    }

    /// The report of that second; senders up to 1000 are known.
    fn report(&mut self, second: u32, sources: &[SourceReport]) -> Digest {
        self.reports.take(
            self.start + SECOND * second,
            sources,
            0,
            |sender| (sender <= 1000).then_some(&self.passed),
            |reason| self.refused.borrow_mut().push(reason),
        )
    }

    /// Why anything was refused since the last call.
    fn refused(&self) -> Vec<ReportRefusal> {
        self.refused.take()
    }
}

fn source(sender_id: u32, frames_expected: u32, frames_lost: u32) -> SourceReport {
    SourceReport {
        sender_id,
        frames_expected,
        frames_lost,
        jitter_us: 7,
        ..SourceReport::default()
    }
}

/// Expected and lost frames of each hearing.
fn heard(digest: &Digest) -> Vec<(u32, u32)> {
    digest.hearings.iter().map(|(_, hearing)| (hearing.expected, hearing.lost)).collect()
}

#[test]
fn each_field_has_its_bounds() {
    let good = SourceReport {
        frames_late: 50,
        jitter_us: 10_000_000,
        buffer_depth_ms: 10_000,
        underruns: 1000,
        overruns: 1000,
        ..source(1, 50, 50)
    };
    let many = 21_000_000_000_u64 as u32;
    use ReportRefusal::{Impossible, Leap, UnknownSender};
    let cases = [
        ("all at their bounds", good, None),
        ("more lost than due", SourceReport { frames_lost: 51, ..good }, Some(Impossible)),
        ("more late than due", SourceReport { frames_late: 51, ..good }, Some(Impossible)),
        ("jitter of an hour", SourceReport { jitter_us: 3_600_000_000, ..good }, Some(Impossible)),
        (
            "a buffer of a minute",
            SourceReport { buffer_depth_ms: 60_000, ..good },
            Some(Impossible),
        ),
        ("underruns", SourceReport { underruns: many, ..good }, Some(Leap)),
        ("overruns", SourceReport { overruns: u32::MAX, ..good }, Some(Leap)),
        ("frames", SourceReport { frames_expected: u32::MAX, ..good }, Some(Leap)),
        ("nobody", SourceReport { sender_id: 0, ..good }, Some(Impossible)),
        ("whom nobody heard", SourceReport { sender_id: 1001, ..good }, Some(UnknownSender)),
    ];
    for (case, source, refusal) in cases {
        let mut listener = Listener::new();
        let digest = listener.report(1, &[source]);
        assert_eq!(listener.refused(), Vec::from_iter(refusal), "{case}");
        assert_eq!(digest == Digest::default(), refusal.is_some(), "{case}: {digest:?}");
        // What is refused stands in nobody's way.
        listener.report(2, &[self::source(1, 0, 0)]);
        let digest = listener.report(3, &[self::source(1, 50, 5)]);
        assert_eq!(heard(&digest), [(50, 5)], "{case}");
        assert!(digest.jitter <= Some(MAX_JITTER) && digest.underruns <= 1000, "{case}");
    }
}

#[test]
fn totals_are_compared_with_the_report_before() {
    type Step = (&'static str, (u32, u32, u32), &'static [(u32, u32)], u64);
    let steps: [Step; 8] = [
        ("the first", (50, 1, 3), &[(50, 1)], 3),
        ("as many again", (100, 6, 4), &[(50, 5)], 1),
        ("nothing new", (100, 6, 4), &[], 0),
        ("too few to be passed on", (139, 15, 4), &[], 0),
        ("with them it is enough", (140, 16, 4), &[(40, 10)], 0),
        ("a lost one came after all", (190, 15, 4), &[(50, 0)], 0),
        ("the client counts anew", (45, 9, 2), &[(45, 9)], 2),
        ("and goes on", (95, 9, 2), &[(50, 0)], 0),
    ];
    let mut listener = Listener::new();
    for (second, (step, (expected, lost, underruns), hearings, more_underruns)) in (1..).zip(steps)
    {
        let source = SourceReport { underruns, ..source(1, expected, lost) };
        let digest = listener.report(second, &[source]);
        assert_eq!(heard(&digest), hearings, "{step}");
        assert_eq!(digest.underruns, more_underruns, "{step}");
        assert_eq!(listener.refused(), [], "{step}");
    }
}

#[test]
fn totals_that_leap_count_for_nothing_and_a_gap_is_no_leap() {
    let mut listener = Listener::new();
    listener.report(1, &[source(1, 50, 0)]);
    // A minute without reports, of which 48 s were lost on the way.
    let digest = listener.report(61, &[source(1, 2450, 2400)]);
    assert_eq!((heard(&digest), listener.refused()), (vec![(2400, 2400)], vec![]));
    // As much again at once, up to the burst, and no more after it.
    let digest = listener.report(61, &[source(1, 3050, 2400)]);
    assert_eq!((heard(&digest), listener.refused()), (vec![(600, 0)], vec![]));
    let digest = listener.report(62, &[source(1, 6050, 5400)]);
    assert_eq!((heard(&digest), listener.refused()), (vec![], vec![ReportRefusal::Leap]));
    // A fall by one is no new beginning: nobody can have heard so much again.
    let digest = listener.report(63, &[source(1, 6049, 5400)]);
    assert_eq!((heard(&digest), listener.refused()), (vec![], vec![ReportRefusal::Leap]));
    let digest = listener.report(64, &[source(1, 6099, 5410)]);
    assert_eq!((heard(&digest), listener.refused()), (vec![(50, 10)], vec![]));
}

#[test]
fn a_sender_counts_once_in_a_report() {
    let mut listener = Listener::new();
    let digest = listener.report(1, &[source(1, 50, 0), source(2, 60, 1), source(1, 100, 50)]);
    assert_eq!(heard(&digest), [(50, 0), (60, 1)]);
    assert_eq!(listener.refused(), [ReportRefusal::Repeated]);
    assert_eq!(heard(&listener.report(2, &[source(1, 100, 0)])), [(50, 0)]);
}

#[test]
fn few_frames_are_gathered_for_ten_seconds() {
    let mut listener = Listener::new();
    for second in 1..=30 {
        let digest = listener.report(second, &[source(1, 3 * second, second / 10)]);
        let expected: &[_] = if second % 10 == 1 && second > 10 { &[(30, 1)] } else { &[] };
        // The first has begun with the first report.
        let expected = if second == 11 { &[(33, 1)][..] } else { expected };
        assert_eq!(heard(&digest), expected, "second {second}");
        for (_, hearing) in digest.hearings {
            assert_eq!(hearing.span, MAX_SPAN);
        }
    }
}

#[test]
fn whoever_was_reported_longest_ago_makes_way_and_is_not_counted_twice() {
    let mut listener = Listener::new();
    let source = |sender, expected| SourceReport { underruns: 5, ..source(sender, expected, 0) };
    // One after the other, then the first again, which is long forgotten.
    for talker in 1..=400 {
        let digest = listener.report(talker * 3, &[source(talker, 3000)]);
        assert_eq!(digest.underruns, 0, "it may have been heard before");
        assert!(listener.reports.talkers.len() <= MAX_REPORT_SOURCES);
    }
    let digest = listener.report(1300, &[source(1, 3100), source(400, 3100)]);
    assert_eq!((heard(&digest), listener.refused()), (vec![(100, 0)], vec![]));
}

/// Of 100 frames a fifth is lost on the way to the relay, and of the rest a quarter on
/// the way to the listener: what it misses of what it was sent is a quarter, whichever
/// part of them a report is about.
#[test]
fn what_was_lost_before_the_relay_is_not_the_listeners_loss() {
    let passes = |n: &u32| n % 5 != 2;
    let comes = |n: &u32| passes(n) && n % 4 != 3;
    let first = u32::MAX - 50;
    let mut listener = Listener::new();
    listener.passed = Passed::new(first);
    (1..100).filter(passes).for_each(|n| listener.passed.note(first.wrapping_add(n)));
    let mut heard = Heard::default();
    for (second, through) in (1..).zip([19, 20, 59, 59, 99]) {
        let through: u32 = through;
        let lost = (0..=through).filter(|n| !comes(n)).count() as u32;
        let source = SourceReport {
            through_sequence: Some(first.wrapping_add(through)),
            ..source(1, through + 1, lost)
        };
        heard += listener.report(second, &[source]).heard;
        let count = |is: &dyn Fn(&u32) -> bool| (0..=through).filter(is).count() as u32;
        let expected = Heard { sent: count(&passes), received: count(&comes) };
        assert_eq!(heard, expected, "through {through}");
    }
    // A client that does not say which frames it speaks of speaks of the newest.
    let again = source(2, 40, 16);
    assert_eq!(listener.report(6, &[again]).heard, Heard { sent: 32, received: 24 });
    // What is not remembered is compared with nothing.
    let unknown =
        SourceReport { through_sequence: Some(first.wrapping_add(500)), ..source(3, 40, 0) };
    assert_eq!(listener.report(7, &[unknown]).heard, Heard::default());
}

proptest! {
    /// Any sequence of reports: no panic, nothing above what time allows, and a
    /// table that does not grow.
    #[test]
    fn whatever_is_reported_stays_within_bounds(
        reports in prop::collection::vec(
            (0u64..5000, prop::collection::vec(any_source(), 0..20), 0u32..=1_000_000),
            0..60,
        ),
    ) {
        let start = Instant::now();
        let passed = Passed::new(0);
        let mut reports_of = Reports::new(start);
        let (mut ms, mut underruns, mut overruns, mut expected) = (0, 0, 0, 0);
        for (pause, sources, known_ppm) in reports {
            ms += pause;
            let now = start + Duration::from_millis(ms);
            let mut refused = 0;
            let known = |sender| (sender < 5).then_some(&passed);
            let digest = reports_of.take(now, &sources, known_ppm, known, |_| refused += 1);
            prop_assert!(digest.hearings.len() + refused <= sources.len());
            prop_assert!(digest.jitter <= Some(MAX_JITTER) && digest.depth <= Some(MAX_DEPTH));
            for (sender, hearing) in digest.hearings {
                prop_assert!((1..5).contains(&sender));
                prop_assert!(hearing.lost <= hearing.expected && hearing.expected > 0);
                prop_assert!(hearing.known_ppm <= 1_000_000);
                prop_assert!(hearing.span <= MAX_SPAN);
                expected += u64::from(hearing.expected);
            }
            underruns += digest.underruns;
            overruns += digest.overruns;
            prop_assert!(reports_of.talkers.len() <= 4);
        }
        let most = 4 * (u64::from(GROWTH) * (ms / 1000 + 1 + GROWTH_BURST.as_secs()));
        prop_assert!(underruns <= most && overruns <= most && expected <= most);
    }
}

/// Mostly small numbers, and a few of any size.
fn any_source() -> impl Strategy<Value = SourceReport> {
    let field = || prop_oneof![4 => 0u32..300, 1 => any::<u32>()];
    let rest = [field(), field(), field(), field()];
    (0u32..8, field(), field(), field(), rest, prop::option::of(field())).prop_map(
        |(sender_id, frames_expected, frames_lost, frames_late, rest, through_sequence)| {
            SourceReport {
                sender_id,
                frames_expected,
                frames_lost,
                frames_late,
                jitter_us: rest[0],
                buffer_depth_ms: rest[1],
                underruns: rest[2],
                overruns: rest[3],
                through_sequence,
            }
        },
    )
}
