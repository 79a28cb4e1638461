//! What happens, for who follows it: `GET /events` of the admin socket, and
//! `wzp-relay ctl events`. Each event is one line of JSON with `time` and `event`.
//!
//! Shards tell of sessions, the control plane of all else. Neither ever waits for a
//! follower: each has a queue of bounded length, and is told how much it missed. While
//! nobody follows, an event costs its teller one load.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use wzp_telemetry::lock::{Mutex, MutexGuard};
use wzp_untrusted::json;

use wzp_sfu::shard::event::Event;

/// All who follow.
#[derive(Debug)]
pub struct Followers {
    most: usize,
    /// Events that may wait for each.
    queue: usize,
    /// Looked at before an event is made.
    count: AtomicUsize,
    all: Mutex<Vec<Follower>>,
    lost: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Follower {
    queue: Sender<Bytes>,
    /// Events that did not fit since it was last told of such.
    lost: u64,
}

/// The lines that a follower reads, as the body of an answer. Dropping it ends that.
#[derive(Debug)]
pub struct Lines(Receiver<Bytes>);

impl Followers {
    /// None yet. At most so many, and so many events that wait for each.
    pub fn new(most: usize, queue: usize) -> Self {
        Self {
            most,
            queue,
            count: AtomicUsize::new(0),
            all: Mutex::default(),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// How many they may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Follows from now on; the first event is `following`. `None`: there are as many as
    /// there may be.
    pub fn follow(&self) -> Option<Lines> {
        let mut all = self.all();
        all.retain(|follower| !follower.queue.is_closed());
        if all.len() >= self.most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (queue, lines) = channel(self.queue);
        let mut follower = Follower { queue, lost: 0 };
        follower.put(line("following", json!({})));
        all.push(follower);
        self.count.store(all.len(), Ordering::Relaxed);
        Some(Lines(lines))
    }

    /// Whether there is anybody to tell.
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Tells all of an event. Never waits for one of them.
    pub fn tell(&self, event: &'static str, details: impl FnOnce() -> Value) {
        if !self.is_any() {
            return;
        }
        let line = line(event, details());
        let mut all = self.all();
        for follower in &mut *all {
            let kept = follower.put(line.clone());
            self.lost.fetch_add(u64::from(!kept), Ordering::Relaxed);
        }
    }

    /// Tells of something in a session's life.
    pub fn tell_session(&self, event: &Event) {
        let (Some(name), Some(session)) = (event.name(), event.session()) else { return };
        self.tell(name, || {
            let mut details = event.details();
            details["session_id"] = session.to_string().into();
            details
        });
    }

    /// Forgets who has gone, and tells who reads again how much it has missed though
    /// nothing else happens. To be called now and then.
    pub fn look_after(&self) {
        if !self.is_any() {
            return;
        }
        let mut all = self.all();
        all.retain_mut(|follower| {
            follower.tell_loss();
            !follower.queue.is_closed()
        });
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// Ends what they read, behind what waits for them.
    pub fn end(&self) {
        self.all().clear();
        self.count.store(0, Ordering::Relaxed);
    }

    /// Events that a follower did not read in time, of all that there were.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How often somebody else wanted to follow than may.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Follower>> {
        // Every change leaves them whole, so a panic elsewhere is no harm.
        self.all.lock()
    }
}

impl Follower {
    /// False if there is no room for it.
    fn put(&mut self, line: Bytes) -> bool {
        let fits =
            self.tell_loss() && !matches!(self.queue.try_send(line), Err(TrySendError::Full(_)));
        self.lost += u64::from(!fits);
        fits
    }

    /// What was lost comes before what was not. False if there is no room to say so.
    fn tell_loss(&mut self) -> bool {
        if self.lost > 0 {
            let told = line("lost", json!({ "events": self.lost }));
            if matches!(self.queue.try_send(told), Err(TrySendError::Full(_))) {
                return false;
            }
            self.lost = 0;
        }
        true
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// An event as its line.
#[derive(Serialize)]
struct Line {
    time: String,
    event: &'static str,
    #[serde(flatten)]
    details: Value,
}

fn line(event: &'static str, details: Value) -> Bytes {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    // Texts and numbers always become JSON.
    let mut text = json::to_string(&Line { time, event, details }).unwrap_or_default();
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &mut Lines) -> Vec<Value> {
        let lines = std::iter::from_fn(|| lines.0.try_recv().ok());
        lines.map(|line| serde_json::from_slice(&line).unwrap()).collect()
    }

    fn events(lines: &mut Lines) -> Vec<String> {
        let name = |line: &Value| line["event"].as_str().unwrap().to_owned();
        read(lines).iter().map(name).collect()
    }

    const MOST: usize = 3;
    const QUEUE: usize = 20;

    #[test]
    fn a_follower_reads_what_happens_from_then_on() {
        let followers = Followers::new(MOST, QUEUE);
        followers.tell("before", || panic!("nobody wants it"));
        let mut lines = followers.follow().unwrap();
        followers.tell("drained", || json!({ "room": "evil\u{202e}\n" }));
        let read = read(&mut lines);
        assert_eq!([&read[0]["event"], &read[1]["event"]], ["following", "drained"]);
        assert_eq!(read[1]["room"], "evil\u{202e}\n");
        humantime::parse_rfc3339(read[1]["time"].as_str().unwrap()).unwrap();
    }

    #[test]
    fn a_slow_follower_costs_others_nothing_and_is_told_what_it_missed() {
        let followers = Followers::new(MOST, QUEUE);
        let mut slow = followers.follow().unwrap();
        let mut quick = followers.follow().unwrap();
        for _ in 0..QUEUE + 9 {
            followers.tell("x", || json!({}));
            assert!(!events(&mut quick).is_empty());
        }
        // One place went to `following`.
        assert_eq!(followers.lost(), 10);
        assert_eq!(read(&mut slow).len(), QUEUE);
        followers.tell("y", || json!({}));
        let rest = read(&mut slow);
        assert_eq!((&rest[0]["event"], &rest[0]["events"]), (&json!("lost"), &json!(10)));
        assert_eq!((rest.len(), &rest[1]["event"]), (2, &json!("y")));

        for _ in 0..QUEUE + 2 {
            followers.tell("x", || json!({}));
        }
        read(&mut slow);
        followers.look_after();
        assert_eq!(events(&mut slow), ["lost"], "though nothing else happens");
        assert_eq!(events(&mut quick).len(), QUEUE, "it has read before");
    }

    #[test]
    fn followers_are_few_and_those_that_have_gone_are_forgotten() {
        let followers = Followers::new(MOST, QUEUE);
        let mut all: Vec<_> = (0..MOST).map(|_| followers.follow().unwrap()).collect();
        assert!(followers.follow().is_none());
        assert_eq!(followers.refused(), 1);
        all.pop();
        all.push(followers.follow().unwrap());
        drop(all);
        assert!(followers.is_any());
        followers.look_after();
        assert!(!followers.is_any());
        let mut last = followers.follow().unwrap();
        followers.end();
        assert_eq!(events(&mut last), ["following"]);
        assert!(last.0.is_closed() && !followers.is_any());
    }
}
