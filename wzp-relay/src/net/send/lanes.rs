//! Which socket a packet leaves by. What a slow interface or a neighbour that is
//! gone has not taken stays charged to the socket it came from (SO_SNDBUF), so
//! packets that are known to arrive have a socket of their own, and a fresh one
//! when that is full. No system calls are made here.

use std::time::{Duration, Instant};

use wzp_sfu::conn::Standing;

/// Number of a socket: 0 is the one that the shard receives by.
pub(super) type Lane = usize;

/// All sockets of a shard.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<State>,
    /// Those in use, by standing. The others are spare.
    used: [Lane; Standing::ALL.len()],
}

/// Whether a socket takes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It does, since then if it was full before.
    Open(Option<Instant>),
    /// It does not; how long until then has been told.
    Full(Instant),
}

impl Lanes {
    /// So many, all open: at least one.
    pub(super) fn new(count: usize) -> Self {
        let lanes = vec![State::Open(None); count];
        let last = count.saturating_sub(1);
        Self { lanes, used: std::array::from_fn(|standing| standing.min(last)) }
    }

    /// By which one packets of that standing leave. `None`: they have to wait.
    ///
    /// When the one in use is full, a spare one takes its place, of which the last
    /// is for those who are prompt. When there is none, they leave beside those of
    /// worse standing, if that is possible. What has stalled gets neither: it
    /// would only fill more of them.
    pub(super) fn lane(&mut self, standing: Standing) -> Option<Lane> {
        let used = self.used[standing as usize];
        if self.is_open(used) {
            return Some(used);
        }
        let left_over = match standing {
            Standing::Prompt => 0,
            Standing::Late => 1,
            Standing::Stalled => return None,
        };
        if let Some(spare) = self.spare(left_over) {
            self.used[standing as usize] = spare;
            return Some(spare);
        }
        let worse = self.used[standing as usize + 1..].iter();
        worse.copied().find(|lane| self.is_open(*lane))
    }

    /// The open one that is not in use which is most likely to be empty: one that
    /// was never full, or the one that has been open for the longest. None if not
    /// so many would be left over.
    fn spare(&self, left_over: usize) -> Option<Lane> {
        let spare = (0..self.lanes.len()).filter(|lane| !self.used.contains(lane));
        let open = spare.filter_map(|lane| match self.lanes[lane] {
            State::Open(since) => Some((since, lane)),
            State::Full(_) => None,
        });
        let (_, emptiest) = open.clone().min()?;
        (open.count() > left_over).then_some(emptiest)
    }

    fn is_open(&self, lane: Lane) -> bool {
        matches!(self.lanes[lane], State::Open(_))
    }

    /// A lane took no more.
    pub(super) fn fill(&mut self, lane: Lane, now: Instant) {
        if self.is_open(lane) {
            self.lanes[lane] = State::Full(now);
        }
    }

    /// A lane takes packets again.
    pub(super) fn open(&mut self, lane: Lane, now: Instant) {
        self.lanes[lane] = State::Open(Some(now));
    }

    /// For how long lanes were full since the last call, all together. A lane
    /// that has opened counts until the last call.
    pub(super) fn take_full_time(&mut self, now: Instant) -> Duration {
        let mut total = Duration::ZERO;
        for lane in &mut self.lanes {
            if let State::Full(told) = lane {
                total += now.saturating_duration_since(*told);
                *told = now;
            }
        }
        total
    }

    /// Those that take nothing.
    pub(super) fn full(&self) -> impl Iterator<Item = Lane> + '_ {
        (0..self.lanes.len()).filter(|lane| !self.is_open(*lane))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(lanes: &mut Lanes) -> [Option<Lane>; 3] {
        Standing::ALL.map(|standing| lanes.lane(standing))
    }

    #[test]
    fn each_standing_has_its_own_as_far_as_there_are_enough() {
        for (count, expected) in [(1, [0, 0, 0]), (2, [0, 1, 1]), (3, [0, 1, 2]), (8, [0, 1, 2])] {
            assert_eq!(lanes(&mut Lanes::new(count)), expected.map(Some), "{count}");
        }
    }

    /// What a step does, and the lanes in use after it.
    type Step = (fn(&mut Lanes, Instant), [Option<Lane>; 3]);

    fn run(count: usize, steps: &[Step]) {
        let start = Instant::now();
        let mut all = Lanes::new(count);
        for (number, (step, expected)) in (0..).zip(steps) {
            step(&mut all, start + Duration::from_millis(number));
            assert_eq!(lanes(&mut all), *expected, "step {number} of {count} lanes");
        }
    }

    #[test]
    fn a_full_lane_is_replaced_while_there_are_spare_ones() {
        run(
            5,
            &[
                (|all, now| all.fill(0, now), [Some(3), Some(1), Some(2)]),
                // The last spare one is not for who is late.
                (|all, now| all.fill(1, now), [Some(3), Some(2), Some(2)]),
                // What has stalled waits.
                (|all, now| all.fill(2, now), [Some(3), None, None]),
                (|all, now| all.fill(3, now), [Some(4), None, None]),
                (|all, now| all.open(1, now), [Some(4), Some(1), None]),
                // None is spare.
                (|all, now| all.fill(4, now), [Some(1), Some(1), None]),
                (|all, now| all.open(0, now), [Some(0), Some(1), None]),
                (|all, now| all.open(2, now), [Some(0), Some(1), Some(2)]),
            ],
        );
        run(
            6,
            &[
                (|all, now| all.fill(1, now), [Some(0), Some(3), Some(2)]),
                (|all, now| all.fill(3, now), [Some(0), Some(4), Some(2)]),
                (|all, now| all.fill(4, now), [Some(0), Some(2), Some(2)]),
                (|all, now| all.open(1, now), [Some(0), Some(5), Some(2)]),
            ],
        );
    }

    #[test]
    fn the_spare_one_that_is_most_likely_empty_is_taken() {
        run(
            5,
            &[
                (|all, now| all.fill(0, now), [Some(3), Some(1), Some(2)]),
                (|all, now| all.open(0, now), [Some(3), Some(1), Some(2)]),
                // 4 was never full.
                (|all, now| all.fill(3, now), [Some(4), Some(1), Some(2)]),
                (|all, now| all.open(3, now), [Some(4), Some(1), Some(2)]),
                // 0 has been open for longer than 3.
                (|all, now| all.fill(4, now), [Some(0), Some(1), Some(2)]),
            ],
        );
    }

    #[test]
    fn without_spare_ones_the_better_leave_beside_the_worse_but_not_the_other_way_round() {
        run(
            3,
            &[
                (|all, now| all.fill(2, now), [Some(0), Some(1), None]),
                (|all, now| all.fill(1, now), [Some(0), None, None]),
                (|all, now| all.open(2, now), [Some(0), Some(2), Some(2)]),
                (|all, now| all.fill(0, now), [Some(2), Some(2), Some(2)]),
            ],
        );
        run(1, &[(|all, now| all.fill(0, now), [None; 3])]);
    }

    #[test]
    fn how_long_lanes_were_full_is_told_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut all = Lanes::new(3);
        all.fill(1, at(0));
        all.fill(1, at(1));
        all.fill(2, at(2));
        assert_eq!(all.full().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all.take_full_time(at(5)), Duration::from_secs(5 + 3));
        assert_eq!(all.take_full_time(at(5)), Duration::ZERO);
        all.open(1, at(6));
        assert_eq!(all.take_full_time(at(6)), Duration::from_secs(1));
        assert_eq!(all.full().collect::<Vec<_>>(), [2]);
    }
}
