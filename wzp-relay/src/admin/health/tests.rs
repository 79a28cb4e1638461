use super::*;
use wzp_kernel::SlotStatistics;
use wzp_sfu::count::turn::{self, STUCK, TurnState};

fn consequence(check: &Check) -> Option<Consequence> {
    check.problem.as_ref().map(|(consequence, _)| *consequence)
}

#[test]
fn only_a_shard_that_hangs_is_stuck() {
    let start = Duration::from_secs(100);
    let cases = [
        (TurnState::Waiting, None),
        (TurnState::NotBegun, None),
        (TurnState::Working(start), None),
        (TurnState::Working(start - STUCK), Some(Consequence::Unhealthy)),
        // The turn began after the time was read.
        (TurnState::Working(start + STUCK), None),
    ];
    for (turn, expected) in cases {
        let check = shards(turn::stuck(start, [TurnState::Waiting, turn].into_iter()), false);
        assert_eq!(consequence(&check), expected, "{turn:?}");
    }
}

#[test]
fn a_restart_is_advised_only_when_no_shard_gets_on() {
    assert_eq!(consequence(&shards(None, false)), None);
    assert_eq!(consequence(&shards(None, true)), Some(Consequence::Unhealthy));
}

#[test]
fn a_panic_is_told_of_for_five_minutes() {
    let now = Instant::now() + Duration::from_secs(1000);
    let ago =
        |seconds| Panic { at: now - Duration::from_secs(seconds), thread: "shard-1".to_owned() };
    assert_eq!(panics(None, now), Check::ok("panics"));
    let told = panics(Some(ago(299)), now).problem.unwrap();
    let sentence = "the thread shard-1 failed 299 seconds ago and went on; the log says why";
    assert_eq!(told, (Consequence::Degraded, sentence.to_owned()));
    assert_eq!(panics(Some(ago(300)), now), Check::ok("panics"));
}

#[test]
fn limits_are_told_before_they_are_reached() {
    let cases = [
        (89, true, None),
        (90, true, Some(Consequence::Degraded)),
        (99, true, Some(Consequence::Degraded)),
        (100, true, Some(Consequence::Degraded)),
        (100, false, Some(Consequence::NotReady)),
    ];
    for (now, takes_newcomers, expected) in cases {
        let check = sessions(now, 100, takes_newcomers);
        assert_eq!(consequence(&check), expected, "{now}, {takes_newcomers}");
    }
}

#[test]
fn a_percent_of_loss_is_told() {
    let cases = [(0, 0, false), (990, 10, false), (989, 11, true), (0, 1, true)];
    for (well, badly, expected) in cases {
        let check = drops(&Totals { forwarded: well, lost: badly, ..Totals::default() });
        assert_eq!(check.problem.is_some(), expected, "{well} {badly} {check:?}");
    }
}

#[test]
fn the_kernel_is_ill_only_if_it_should_count() {
    let slots = |used| SlotStatistics { used, capacity: 10, ..SlotStatistics::default() };
    let cases = [
        (Mode::Off, false, 0, None),
        (Mode::Auto, true, 8, None),
        (Mode::Auto, true, 9, Some("9 of 10 slots")),
        (Mode::Require, false, 0, Some("all interfaces")),
    ];
    for (mode, counting, used, expected) in cases {
        let kernel = Statistics { mode, counting, slots: slots(used), ..Statistics::default() };
        let reason = ebpf(&kernel).problem.map(|(_, reason)| reason);
        match expected {
            None => assert_eq!(reason, None, "{mode:?}"),
            Some(part) => assert!(reason.unwrap().contains(part), "{mode:?}"),
        }
    }
}

#[test]
fn the_last_minute_forgets_what_is_older() {
    let start = Instant::now();
    let dropped = |log_lines_dropped| Totals { log_lines_dropped, ..Totals::default() };
    let mut recent = Recent([(start, dropped(0))].into());
    let cases = [(0, 1, 1), (1, 1, 1), (30, 5, 5), (59, 5, 5), (61, 5, 4), (90, 5, 0), (300, 6, 1)];
    for (second, total, expected) in cases {
        let added = recent.since(start + Duration::from_secs(second), dropped(total));
        assert_eq!(added.log_lines_dropped, expected, "second {second}");
    }
    for second in 301..1000 {
        recent.since(start + Duration::from_secs(second), dropped(6));
    }
    assert!(recent.0.len() <= 62, "{}", recent.0.len());
}
