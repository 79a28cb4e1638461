//! A token bucket with injected time.

use std::time::{Duration, Instant};

/// Allows `rate` units a second and a burst on top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    /// Nanoseconds that one unit takes.
    cost: u64,
    /// The most that may be saved up.
    burst: Duration,
    /// When the bucket would be, or was, full of nothing: a virtual clock that
    /// every unit pushes ahead (GCRA).
    until: Option<Instant>,
}

impl Meter {
    /// At most `rate` units a second in the long run, and `burst` seconds'
    /// worth at once.
    pub(crate) fn new(rate: u32, burst: Duration) -> Self {
        Self { cost: 1_000_000_000 / u64::from(rate.max(1)), burst, until: None }
    }

    /// Takes `units` if there are as many.
    pub(crate) fn take(&mut self, now: Instant, units: u32) -> bool {
        let start = self.until.map_or(now, |until| until.max(now));
        let next = start + Duration::from_nanos(self.cost * u64::from(units));
        let allowed = next.duration_since(now) <= self.burst;
        if allowed {
            self.until = Some(next);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let start = Instant::now();
        let mut meter = Meter::new(50, Duration::from_secs(1));
        let taken = |meter: &mut Meter, at| (0..1000).filter(|_| meter.take(at, 1)).count();
        assert_eq!(taken(&mut meter, start), 50);
        assert_eq!(taken(&mut meter, start + Duration::from_millis(100)), 5);
        assert_eq!(taken(&mut meter, start + Duration::from_secs(60)), 50);
        assert!(!Meter::new(10, Duration::from_secs(1)).take(start, 11));
    }
}
