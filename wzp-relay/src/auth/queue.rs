//! How requests get from the shards to the control plane. Bounded: what the
//! control plane does not take in time is refused, not piled up.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::stats::AuthStats;
use super::{AuthRequest, Refusal};
use crate::metrics::reason::AuthFailReason;
use crate::shard::mail::Mail;

/// Requests that may wait to be read: with the longest tokens 8 MiB.
const QUEUE: usize = 1024;

/// The shards' end. Cheap to clone, one per shard.
#[derive(Clone, Debug)]
pub struct AuthQueue {
    requests: mpsc::Sender<AuthRequest>,
    stats: Arc<AuthStats>,
}

/// A queue that counts in `stats` what it refuses, and its reading end.
pub fn queue(stats: Arc<AuthStats>) -> (AuthQueue, mpsc::Receiver<AuthRequest>) {
    let (requests, receiver) = mpsc::channel(QUEUE);
    (AuthQueue { requests, stats }, receiver)
}

impl AuthQueue {
    /// Passes a request on, or gives the answer at once: there is no place.
    pub(crate) fn ask(&self, request: AuthRequest) -> Option<Mail> {
        let request = self.requests.try_send(request).err()?.into_inner();
        let refusal = Refusal::new(
            AuthFailReason::Busy,
            "too many wait for their tokens to be checked; try again in some seconds",
        );
        let reason = refusal.reason;
        let answer = request.answer(Err(refusal))?;
        self.stats.count_refusal(reason);
        Some(Mail::Authenticated(Box::new(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decided, Token};
    use super::*;
    use crate::room::SessionId;

    #[test]
    fn what_does_not_fit_is_refused_at_once_and_counted() {
        let stats = Arc::new(AuthStats::default());
        let (queue, mut receiver) = queue(stats.clone());
        let request = |number| AuthRequest {
            shard: 0,
            session: SessionId(number),
            ip: [127, 0, 0, 1].into(),
            room: "lobby".into(),
            name: String::new(),
            token: Token::default(),
            decided: Decided::default(),
        };
        let refused: Vec<_> = (0..QUEUE as u64 + 2).filter_map(|n| queue.ask(request(n))).collect();
        assert_eq!(refused.len(), 2);
        assert_eq!(stats.failures(AuthFailReason::Busy), 2);
        assert_eq!(receiver.try_recv().unwrap().session, SessionId(0));
        assert!(queue.ask(request(0)).is_none());
    }
}
