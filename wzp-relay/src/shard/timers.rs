//! When each connection wants to be woken. Deadlines mostly move later, many
//! times before they are due, so a wake-up is only moved when it must come
//! earlier; one that comes too early is simply set again.

use std::collections::BTreeSet;
use std::time::Instant;

/// Wake-ups in order, at most one per connection.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, usize)>,
    /// The entry of each connection.
    set: Vec<Option<Instant>>,
}

impl Timers {
    /// Makes sure the connection is woken at `deadline` or before.
    pub(crate) fn wake_by(&mut self, connection: usize, deadline: Instant) {
        if self.set.len() <= connection {
            self.set.resize(connection + 1, None);
        }
        if self.set[connection].is_none_or(|earlier| deadline < earlier) {
            self.forget(connection);
            self.set[connection] = Some(deadline);
            self.queue.insert((deadline, connection));
        }
    }

    /// The connection needs no waking any more.
    pub(crate) fn forget(&mut self, connection: usize) {
        if let Some(deadline) = self.set.get_mut(connection).and_then(Option::take) {
            self.queue.remove(&(deadline, connection));
        }
    }

    /// The next connection whose wake-up is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<usize> {
        let (_, connection) =
            self.queue.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.forget(connection);
        Some(connection)
    }

    /// When [`Self::pop`] next has something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn earliest_wish_wins_and_replaces_later_ones() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.wake_by(3, at(50));
        timers.wake_by(3, at(20));
        timers.wake_by(3, at(90));
        timers.wake_by(1, at(30));
        assert_eq!((timers.next(), timers.pop(at(10))), (Some(at(20)), None));
        assert_eq!(
            (timers.pop(at(60)), timers.pop(at(60)), timers.pop(at(60))),
            (Some(3), Some(1), None)
        );
        timers.wake_by(3, at(70));
        timers.forget(3);
        assert_eq!(timers.pop(at(99)), None);
    }
}
