//! How requests get from the shards to the control plane. Bounded from the question
//! to its answer: what the control plane does not take in time is refused, not piled
//! up. And shared fairly among sources.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::shares::Shares;
use super::source::Source;
use wzp_sfu::access::{AuthRequest, Refusal};
use wzp_sfu::count::decisions::Decisions;
use wzp_sfu::count::reason::AuthFailReason;
use wzp_sfu::mail::ControlMail;
use wzp_telemetry::lock::{Mutex, MutexGuard};

/// Requests that may be undecided at a time: about as many as there may be handshakes
/// by default. With the longest tokens 16 MiB.
const MOST: usize = 2048;

/// The shards' end. Cheap to clone, one per shard.
#[derive(Clone, Debug)]
pub struct AuthQueue {
    requests: mpsc::Sender<Waiting>,
    places: Places,
    decisions: Arc<Decisions>,
}

/// A request that waits for its decision, and the place that it takes until then.
#[derive(Debug)]
pub struct Waiting {
    pub(super) request: AuthRequest,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
struct Places(Arc<Mutex<Shares>>);

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    source: Source,
}

/// A queue that counts in `decisions` what it refuses, and its reading end.
pub fn queue(decisions: Arc<Decisions>) -> (AuthQueue, mpsc::Receiver<Waiting>) {
    let (requests, receiver) = mpsc::channel(MOST);
    let places = Places(Arc::new(Mutex::new(Shares::new(MOST))));
    (AuthQueue { requests, places, decisions }, receiver)
}

impl AuthQueue {
    /// Passes a request on, or gives the answer at once: there is no place.
    pub(crate) fn ask(&self, request: AuthRequest) -> Option<ControlMail> {
        let source = Source::of(request.ip);
        let request = match self.places.take(source) {
            Some(place) => {
                // There is room for as many as there are places.
                self.requests.try_send(Waiting { request, place }).err()?.into_inner().request
            }
            None => request,
        };
        let refusal = Refusal::new(
            AuthFailReason::Busy,
            "too many wait for their tokens to be checked; try again in some seconds",
        );
        let reason = refusal.reason;
        let answer = request.answer(Err(refusal))?;
        self.decisions.count_refusal(reason);
        Some(ControlMail::Authenticated(Box::new(answer)))
    }
}

impl Places {
    fn take(&self, source: Source) -> Option<Place> {
        self.shares().take(source).then(|| Place { places: self.clone(), source })
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Every change leaves them whole, so a panic elsewhere is no harm.
        self.0.lock()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.shares().give_back(self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wzp_sfu::access::{Decided, Token};
    use wzp_sfu::ids::SessionId;

    fn request(number: u64, address: u8) -> AuthRequest {
        AuthRequest {
            shard: 0,
            session: SessionId(number),
            ip: [192, 0, 2, address].into(),
            room: "lobby".into(),
            name: String::new(),
            token: Token::default(),
            decided: Decided::default(),
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once_and_counted_and_others_find_a_place() {
        let decisions = Arc::new(Decisions::default());
        let (queue, mut receiver) = queue(decisions.clone());
        let office = 410;
        let refused = (0..office + 2).filter_map(|number| queue.ask(request(number, 1))).count();
        assert_eq!((refused, decisions.failures(AuthFailReason::Busy)), (2, 2));
        assert!(queue.ask(request(0, 2)).is_none(), "another address has room");

        // It is free again when it is decided, not when it is read.
        let first = receiver.try_recv().unwrap();
        assert_eq!(first.request.session, SessionId(0));
        assert!(queue.ask(request(0, 1)).is_some());
        drop(first);
        assert!(queue.ask(request(0, 1)).is_none());
    }
}
