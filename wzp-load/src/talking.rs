//! The talkers of one thread: one clock that sends for all of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use quinn::Connection;
use tokio::time::{MissedTickBehavior, interval};

use super::frame::{Frame, Press};
use super::rota::Rota;
use super::session::{Common, Session};
use super::tally::histogram;

/// How often the clock looks who is due.
const TICK: Duration = Duration::from_millis(1);

/// One session's voice.
struct Talker {
    connection: Connection,
    next: Frame,
    /// Frames sent in the measured time.
    sent: u64,
}

/// All voices of a thread.
pub(crate) struct Talking {
    talkers: Vec<Talker>,
    rota: Rota,
    press: Press,
    /// How late the frames of the measured time were sent, in nanoseconds.
    lag: Histogram<u64>,
}

impl Talking {
    /// Those of `sessions` who talk, from `start` on.
    pub(crate) fn new(common: &Common, sessions: &[Session], start: u64) -> Self {
        let options = &common.options;
        let talkers = || sessions.iter().filter(|session| session.seat.talks);
        let interval = Duration::from_secs_f64(options.rate.recip());
        let numbers = talkers().map(|session| session.seat.number);
        Self {
            rota: Rota::new(start, interval.as_nanos() as u64, numbers),
            talkers: talkers().map(|session| Talker::new(common.run, session)).collect(),
            press: Press::new(options.frame_bytes, options.rate),
            lag: histogram(),
        }
    }

    /// Sends until it is dropped.
    pub(crate) async fn go_on(&mut self, common: &Common) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // Whoever becomes due meanwhile waits for the next tick, so that
            // receiving gets its turn even if this machine is too slow.
            let now = common.clock.now();
            while let Some((place, due)) = self.rota.pop(now) {
                let talker = &mut self.talkers[place];
                talker.next.sent = common.clock.now();
                let datagram = self.press.datagram(&talker.next);
                // A lost session is told of at the end.
                if talker.connection.send_datagram(datagram).is_err() {
                    continue;
                }
                talker.next.sequence = talker.next.sequence.wrapping_add(1);
                if common.window.contains(talker.next.sent) {
                    talker.sent += 1;
                    self.lag.saturating_record(talker.next.sent.saturating_sub(due));
                }
            }
        }
    }

    /// Tells the sessions how much they sent; gives how late it was.
    pub(crate) fn finish(self, sessions: &mut [Session]) -> Histogram<u64> {
        let talkers = sessions.iter_mut().filter(|session| session.seat.talks);
        for (session, talker) in talkers.zip(self.talkers) {
            session.sent = talker.sent;
        }
        self.lag
    }
}

impl Talker {
    fn new(run: u32, session: &Session) -> Self {
        let member = session.seat.member;
        let next = Frame { sender_id: session.sender_id, sequence: 0, sent: 0, run, member };
        Self { connection: session.connection.clone(), next, sent: 0 }
    }
}
