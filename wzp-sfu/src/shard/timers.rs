//! When each connection wants to be woken. Deadlines mostly move later, many
//! times before they are due, so a wake-up is only moved when it must come
//! earlier; one that comes too early is simply set again.
//!
//! A binary heap that knows where each connection is: unlike the tree of the
//! standard library it allocates only when there are more connections than ever
//! before.

use std::time::Instant;

/// Wake-ups, at most one per connection.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// No entry comes before its parent, that of (n - 1) / 2.
    heap: Vec<(Instant, usize)>,
    /// Where the heap has each connection's entry.
    places: Vec<Option<usize>>,
}

impl Timers {
    /// Makes sure the connection is woken at `deadline` or before.
    pub(crate) fn wake_by(&mut self, connection: usize, deadline: Instant) {
        if self.places.len() <= connection {
            self.places.resize(connection + 1, None);
        }
        let place = match self.places[connection] {
            Some(place) if self.heap[place].0 <= deadline => return,
            Some(place) => place,
            None => {
                self.heap.push((deadline, connection));
                self.heap.len() - 1
            }
        };
        self.heap[place] = (deadline, connection);
        self.rise(place);
    }

    /// The connection needs no waking any more.
    pub(crate) fn forget(&mut self, connection: usize) {
        if let Some(place) = self.places.get_mut(connection).and_then(Option::take) {
            self.heap.swap_remove(place);
            if place < self.heap.len() {
                // The one that was last may belong above or below.
                let place = self.rise(place);
                self.sink(place);
            }
        }
    }

    /// The next connection whose wake-up is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<usize> {
        let (_, connection) =
            self.heap.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.forget(connection);
        Some(connection)
    }

    /// When [`Self::pop`] next has something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Moves an entry up to where it belongs, and says where that is.
    fn rise(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0
            && let parent = (place - 1) / 2
            && entry < self.heap[parent]
        {
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    /// Moves an entry down to where it belongs.
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let children = 2 * place + 1..self.heap.len().min(2 * place + 3);
            let Some(child) = children.min_by_key(|child| self.heap[*child]) else { break };
            if entry < self.heap[child] {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: (Instant, usize)) {
        self.heap[place] = entry;
        self.places[entry.1] = Some(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
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

    proptest! {
        /// Wishes of 40 connections, some of them taken back, against a list
        /// that is searched from end to end.
        #[test]
        fn wakes_in_order_whatever_was_wished(
            wishes in prop::collection::vec((0usize..40, prop::option::weighted(0.8, 0u64..100)), 0..300),
            until in 0u64..120,
        ) {
            let start = Instant::now();
            let (mut timers, mut expected) = (Timers::default(), BTreeMap::new());
            for (connection, wish) in wishes {
                match wish.map(|ms| start + Duration::from_millis(ms)) {
                    Some(at) => {
                        timers.wake_by(connection, at);
                        let set = expected.entry(connection).or_insert(at);
                        *set = at.min(*set);
                    }
                    None => {
                        timers.forget(connection);
                        expected.remove(&connection);
                    }
                }
                prop_assert_eq!(timers.next(), expected.values().min().copied());
            }
            let now = start + Duration::from_millis(until);
            let mut due: Vec<_> = expected.iter().map(|(connection, at)| (*at, *connection)).collect();
            due.retain(|(at, _)| *at <= now);
            due.sort_unstable();
            let woken: Vec<_> = std::iter::from_fn(|| timers.pop(now)).collect();
            prop_assert_eq!(woken, due.iter().map(|(_, connection)| *connection).collect::<Vec<_>>());
            let later = expected.into_values().filter(|at| *at > now).min();
            prop_assert_eq!(timers.next(), later);
        }
    }
}
