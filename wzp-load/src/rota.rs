//! When each talker is due. Talkers are as independent of each other as people
//! are: each has a phase of its own within the frame interval. The schedule is
//! absolute, so that delays do not add up.

/// The talkers of one thread, in the order in which they are due.
#[derive(Debug)]
pub(crate) struct Rota {
    /// Nanoseconds behind the start of each interval, and whose; sorted.
    phases: Vec<(u64, usize)>,
    interval: u64,
    /// Start of the interval that `next` is in.
    turn: u64,
    next: usize,
}

impl Rota {
    /// Talkers with these numbers in the whole load, each due once per
    /// `interval`, the first time within the one that begins at `start`. Times
    /// are in nanoseconds. The numbers given out are places in `talkers`.
    pub(crate) fn new(start: u64, interval: u64, talkers: impl Iterator<Item = u64>) -> Self {
        let interval = interval.max(1);
        let mut phases: Vec<_> = talkers
            .enumerate()
            .map(|(place, number)| (scattered(number) % interval, place))
            .collect();
        phases.sort_unstable();
        Self { phases, interval, turn: start, next: 0 }
    }

    /// The next talker that is due by `now`, and since when it is.
    pub(crate) fn pop(&mut self, now: u64) -> Option<(usize, u64)> {
        let &(phase, place) = self.phases.get(self.next)?;
        let due = self.turn + phase;
        if due > now {
            return None;
        }
        self.next += 1;
        if self.next == self.phases.len() {
            self.next = 0;
            self.turn += self.interval;
        }
        Some((place, due))
    }
}

/// The same in every run, and without a pattern: the output function of
/// SplitMix64 (Steele, Lea and Flood, 2014).
const fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 20_000_000;
    const MILLI: u64 = 1_000_000;

    /// Every due time by `until`, of each talker, if asked at these times.
    fn due(rota: &mut Rota, talkers: usize, asked: impl Iterator<Item = u64>) -> Vec<Vec<u64>> {
        let mut due = vec![Vec::new(); talkers];
        for now in asked {
            while let Some((place, at)) = rota.pop(now) {
                assert!(at <= now);
                due[place].push(at);
            }
        }
        due
    }

    #[test]
    fn each_talker_is_due_once_per_interval_however_late_it_is_asked_for() {
        let start = 5 * MILLI;
        let end = start + 50 * INTERVAL - 1;
        let every_milli = || (0..end).step_by(MILLI as usize).chain([end]);
        let punctual = due(&mut Rota::new(start, INTERVAL, 0..20), 20, every_milli());
        let stalled = due(
            &mut Rota::new(start, INTERVAL, 0..20),
            20,
            every_milli().filter(|now| !(300 * MILLI..700 * MILLI).contains(now)),
        );
        assert_eq!(punctual, stalled);
        for times in punctual {
            assert_eq!(times.len(), 50);
            assert!((start..start + INTERVAL).contains(&times[0]));
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == INTERVAL));
        }
    }

    #[test]
    fn talkers_are_spread_over_the_interval() {
        let mut per_milli = [0u32; 20];
        let mut rota = Rota::new(0, INTERVAL, 0..2000);
        while let Some((_, at)) = rota.pop(INTERVAL - 1) {
            per_milli[(at / MILLI) as usize] += 1;
        }
        assert_eq!(per_milli.iter().sum::<u32>(), 2000);
        // 100 each on average; the standard deviation is 10.
        assert!(per_milli.iter().all(|count| (50..150).contains(count)), "{per_milli:?}");
    }

    #[test]
    fn nobody_is_never_due() {
        assert_eq!(Rota::new(0, INTERVAL, 0..0).pop(u64::MAX), None);
    }
}
