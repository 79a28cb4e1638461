//! One piece of blocking work at a time, for whoever wants its result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::{JoinError, spawn_blocking};

/// Shares results of work that takes a while.
///
/// Who comes while it is done gets the same result. A result is handed out for
/// as long again as the work took, so that however many ask, the work never
/// takes more than half of a core.
pub(crate) struct SingleFlight<T> {
    last: Arc<Mutex<Option<Landed<T>>>>,
    /// Whether the first result is for all who ever ask.
    once: bool,
}

struct Landed<T> {
    result: Arc<T>,
    ended: Instant,
    took: Duration,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { last: Arc::default(), once: false }
    }
}

impl<T> SingleFlight<T> {
    /// For work that is done once.
    pub(crate) fn once() -> Self {
        Self { once: true, ..Self::default() }
    }
}

impl<T: Send + Sync + 'static> SingleFlight<T> {
    /// The result of `work`, or of somebody else's a moment ago. Who gives up
    /// waiting does not end the work, and nobody begins another meanwhile.
    ///
    /// # Errors
    /// The work panicked.
    pub(crate) async fn get(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Arc<T>, JoinError> {
        let asked = Instant::now();
        let mut last = self.last.clone().lock_owned().await;
        if let Some(landed) = &*last
            && (self.once || landed.ended >= asked || landed.ended.elapsed() < landed.took)
        {
            return Ok(landed.result.clone());
        }
        spawn_blocking(move || {
            let began = Instant::now();
            let result = Arc::new(work());
            let ended = Instant::now();
            *last = Some(Landed { result: result.clone(), ended, took: ended - began });
            result
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_share_one_result() {
        let flight = Arc::new(SingleFlight::default());
        let (runs, (go, gate)) = (Arc::new(AtomicU32::new(0)), mpsc::channel());
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let ask = || {
            let (flight, runs, gate) = (flight.clone(), runs.clone(), gate.clone());
            tokio::spawn(async move {
                let work = move || {
                    gate.lock().unwrap().recv().unwrap();
                    runs.fetch_add(1, Ordering::Relaxed) + 1
                };
                *flight.get(work).await.unwrap()
            })
        };
        let asked: Vec<_> = (0..8).map(|_| ask()).collect();
        // One is at work and holds the lock, the others wait for it.
        while Arc::strong_count(&flight.last) < 9 {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        for one in asked {
            assert_eq!(one.await.unwrap(), 1);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_later_question_gets_a_new_answer() {
        let flight = SingleFlight::default();
        assert_eq!(*flight.get(|| 1).await.unwrap(), 1);
        // The first took no time worth mentioning, so it is not shared for long.
        loop {
            if *flight.get(|| 2).await.unwrap() == 2 {
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_and_forgotten() {
        let flight = SingleFlight::<u32>::default();
        assert!(flight.get(|| panic!("on purpose")).await.unwrap_err().is_panic());
        assert_eq!(*flight.get(|| 3).await.unwrap(), 3);
    }
}
