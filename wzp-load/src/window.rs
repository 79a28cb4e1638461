//! The clock of a run, and the time that is measured: frames are counted if
//! they were *sent* within it, so that senders and receivers count the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since the start of the run, the same in all threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts at zero, now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// What it shows.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When it shows that.
    pub(crate) fn at(self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

/// Changes of the window are announced so long before they matter: by then
/// every thread sees them, and a frame is in or out for all of them.
pub(crate) const NOTICE: Duration = Duration::from_millis(20);

/// The time that is measured. Empty until it is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window(Arc<Bounds>);

#[derive(Debug, Default)]
struct Bounds {
    from: AtomicU64,
    until: AtomicU64,
}

impl Window {
    /// Sets it for the first time; it begins after [`NOTICE`] at the earliest.
    pub(crate) fn set(&self, from: u64, until: u64) {
        self.0.from.store(from, Ordering::SeqCst);
        self.0.until.store(until, Ordering::SeqCst);
    }

    /// Ends it at another time, after [`NOTICE`] at the earliest.
    pub(crate) fn end(&self, until: u64) {
        self.0.until.store(until, Ordering::SeqCst);
    }

    /// Whether what was sent then counts.
    pub(crate) fn contains(&self, sent: u64) -> bool {
        (self.0.from.load(Ordering::Relaxed)..self.0.until.load(Ordering::Relaxed)).contains(&sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_nothing_until_set_and_then_its_start_but_not_its_end() {
        let window = Window::default();
        assert!(!window.contains(0));
        window.set(100, 200);
        let cases = [(99, false), (100, true), (199, true), (200, false)];
        for (sent, expected) in cases {
            assert_eq!(window.contains(sent), expected, "{sent}");
        }
        window.end(150);
        assert!(window.contains(149) && !window.contains(150));
    }
}
