//! Turns to ask a service, so many at a time. They go round among the sources that
//! wait. A source may have a quarter of what it leaves free, and more as it is
//! answered, up to half of all: requests of strangers that hang keep nobody else
//! waiting, and a crowded office is soon served.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wzp_telemetry::lock::{Mutex, MutexGuard};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::source::Source;

/// Turns that are to be free for each that a source has, unless it is answered.
const FREE_FOR_ONE: usize = 4;

/// All turns of a service.
#[derive(Debug)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Only those who have a turn, or wait for one.
    sources: HashMap<Source, Asker>,
    /// Those who wait, in the order in which they get the next turn.
    round: VecDeque<Source>,
}

#[derive(Debug)]
struct Asker {
    turns: usize,
    /// Answers since the last failure, for as long as it has or wants turns: so many
    /// turns it may have.
    answered: usize,
    /// Who waits, the longest first.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A turn; over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    source: Source,
    was_answered: bool,
}

impl Turns {
    pub(super) fn new(turns: usize) -> Self {
        let state = State { free: turns, sources: HashMap::new(), round: VecDeque::new() };
        Self(Mutex::new(state))
    }

    /// A turn for the source; `None` if it gets none by the deadline.
    pub(super) async fn take(self: &Arc<Self>, source: Source, deadline: Instant) -> Option<Turn> {
        let waits = self.state().wait(source);
        self.hand_out();
        timeout_at(deadline, waits).await.ok()?.ok()
    }

    /// Hands out what is free.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((source, waits)) = self.state().next() else { return };
            let turn = Turn { turns: self.clone(), source, was_answered: false };
            // Who waits no longer gives it back by dropping it.
            let _ = waits.send(turn);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere is no harm.
        self.0.lock()
    }
}

impl State {
    fn wait(&mut self, source: Source) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let asker = self.sources.entry(source).or_insert_with(|| Asker {
            turns: 0,
            answered: 0,
            waiting: VecDeque::new(),
        });
        asker.waiting.retain(|waits| !waits.is_closed());
        if asker.waiting.is_empty() && !self.round.contains(&source) {
            self.round.push_back(source);
        }
        asker.waiting.push_back(sender);
        receiver
    }

    /// Who gets the next turn, which is taken.
    fn next(&mut self) -> Option<(Source, oneshot::Sender<Turn>)> {
        for _ in 0..self.round.len() {
            let source = self.round.pop_front()?;
            let Some(asker) = self.sources.get_mut(&source) else { continue };
            asker.waiting.retain(|waits| !waits.is_closed());
            let waits = if asker.may(self.free) { asker.waiting.pop_front() } else { None };
            if waits.is_some() {
                asker.turns = asker.turns.saturating_add(1);
                self.free = self.free.saturating_sub(1);
            }
            if !asker.waiting.is_empty() {
                self.round.push_back(source);
            }
            self.forget_idle(source);
            if let Some(waits) = waits {
                return Some((source, waits));
            }
        }
        None
    }

    fn end(&mut self, source: Source, was_answered: bool) {
        self.free = self.free.saturating_add(1);
        if let Some(asker) = self.sources.get_mut(&source) {
            asker.turns = asker.turns.saturating_sub(1);
            asker.answered = if was_answered { asker.answered.saturating_add(1) } else { 0 };
        }
        self.forget_idle(source);
    }

    fn forget_idle(&mut self, source: Source) {
        let is_idle = |asker: &Asker| asker.turns == 0 && asker.waiting.is_empty();
        if self.sources.get(&source).is_some_and(is_idle) {
            self.sources.remove(&source);
        }
    }
}

impl Asker {
    /// Whether it may have one more turn.
    fn may(&self, free: usize) -> bool {
        let is_few = self.turns.saturating_mul(FREE_FOR_ONE) < free;
        is_few || self.turns < self.answered.min(free)
    }
}

impl Turn {
    /// The turn is over, with an answer or without.
    pub(super) fn ends(mut self, was_answered: bool) {
        self.was_answered = was_answered;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().end(self.source, self.was_answered);
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    fn never() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    /// What a source gets at once.
    async fn all(turns: &Arc<Turns>, of: Source) -> Vec<Turn> {
        let mut got = Vec::new();
        while let Some(turn) = turns.take(of, Instant::now()).await {
            got.push(turn);
        }
        got
    }

    #[tokio::test]
    async fn requests_that_hang_leave_turns_to_others() {
        let turns = Arc::new(Turns::new(64));
        let mut hanging = Vec::new();
        for (number, expected) in (0..).zip([13, 11, 8, 7, 5, 4, 4, 3, 2, 2, 1, 1, 1, 1, 1]) {
            let got = all(&turns, source(number)).await;
            assert_eq!(got.len(), expected, "{number}");
            hanging.push(got);
        }
        drop(hanging);
        assert_eq!(all(&Arc::new(Turns::new(1)), source(1)).await.len(), 1);
        let state = turns.state();
        assert!(state.free == 64 && state.sources.is_empty(), "{state:?}");
    }

    #[tokio::test]
    async fn who_is_answered_gets_more_up_to_half_of_all() {
        let turns = Arc::new(Turns::new(64));
        let office = source(1);
        let mut got = all(&turns, office).await;
        for expected in [13, 24, 32, 32] {
            got.split_off(1).into_iter().for_each(|turn| turn.ends(true));
            got.extend(all(&turns, office).await);
            assert_eq!(got.len(), expected);
        }
    }

    #[tokio::test]
    async fn turns_go_round_among_those_who_wait() {
        let turns = Arc::new(Turns::new(2));
        let first = turns.take(source(1), never()).await.unwrap();
        let second = turns.take(source(2), never()).await.unwrap();
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let wait = |number| {
            let (turns, told) = (turns.clone(), told.clone());
            tokio::spawn(async move {
                let turn = turns.take(source(number), never()).await;
                told.send(number).unwrap();
                drop(turn);
            })
        };
        let mut tasks = Vec::new();
        for number in [3, 3, 3, 4, 5] {
            tasks.push(wait(number));
            tokio::task::yield_now().await;
        }
        // One who does not wait any longer is passed over.
        tasks.remove(1).abort();
        tokio::task::yield_now().await;
        drop((first, second));
        for task in tasks {
            task.await.unwrap();
        }
        drop(told);
        let mut seen = Vec::new();
        while let Some(number) = order.recv().await {
            seen.push(number);
        }
        assert_eq!(seen, [3, 4, 5, 3]);
        let state = turns.state();
        assert!(state.sources.is_empty() && state.round.is_empty());
    }
}
